import pytest
import torch
from torch import nn

from lit_vision.errors import UserError
from lit_vision.models import SmallCNN


def notebook_network():
    """Notebook 1's network as it defines it, with its names."""
    network = nn.Module()
    network.conv1, network.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
    network.layer1, network.layer2, network.layer_out = nn.Linear(400, 120), nn.Linear(120, 120), nn.Linear(120, 10)

    def forward(x):
        x = nn.functional.max_pool2d(network.conv1(x).relu(), 2)
        x = nn.functional.max_pool2d(network.conv2(x).relu(), 2).flatten(1)
        return network.layer_out(network.layer2(network.layer1(x).relu()).relu())

    return network, forward


def test_parameters_and_names_are_the_notebooks():
    model = SmallCNN()
    assert sum(parameter.numel() for parameter in model.parameters()) == 66_722
    assert set(model.state_dict()) == set(notebook_network()[0].state_dict())


def test_a_file_that_the_notebook_saved_gives_its_logits(tmp_path):
    network, forward = notebook_network()
    torch.save(network.state_dict(), tmp_path / "CNN_CIFAR-10_torch.pth")
    model = SmallCNN(weights=tmp_path / "CNN_CIFAR-10_torch.pth")
    image = torch.rand(4, 3, 32, 32)
    assert torch.equal(model(image), forward(image))
    assert "weights" not in model.hparams


def test_initialisation_is_the_notebooks():
    torch.manual_seed(0)
    model = SmallCNN()
    bound = (6 / (400 + 120)) ** 0.5
    assert model.layer1.weight.abs().max() <= bound
    assert model.layer1.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert all(layer.bias.eq(0).all() for layer in (model.layer1, model.layer2, model.layer_out))
    assert model.conv1.bias.ne(0).all()
    assert model.conv1.weight.abs().max() <= 1 / 75**0.5  # PyTorch's own


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, 16),
        ({}, 33),
        ({"kernel_size": 3}, 10),
        ({"kernel_size": 1}, 4),
        ({"channels": (8, 24), "hidden": (64, 32)}, 48),
    ],
)
def test_works_for_any_size_that_leaves_a_pixel(options, size):
    model = SmallCNN(image_size=size, class_names=["a", "b", "c"], **options)
    assert model(torch.rand(2, 3, size, size)).shape == (2, 3)
    smallest = 3 * options.get("kernel_size", 5) + 1
    with pytest.raises(UserError, match=f"--data.image_size to {smallest}"):
        SmallCNN(image_size=smallest - 1, **options)


def test_activation_is_used():
    assert isinstance(SmallCNN(activation="Tanh").act3, nn.Tanh)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"conv1.weight": torch.zeros(6, 3, 5, 5)}, "conv1.bias is missing"),
        (SmallCNN(channels=(8, 16)).state_dict(), r"conv1.weight has shape \(8, 3, 5, 5\) instead of \(6, 3, 5, 5\)"),
        ([1, 2], "holds a list instead of"),
        (b"not a PyTorch file", "cannot be read as a weights file"),
        (None, "there is no weights file"),
    ],
)
def test_weights_that_do_not_fit(tmp_path, content, message):
    path = tmp_path / "x.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=message):
        SmallCNN(weights=path)
