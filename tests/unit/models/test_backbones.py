import urllib.error

import pytest
import torch
from torch import nn
from torchvision import models

from lit_vision.errors import UserError
from lit_vision.models import TransferClassifier
from lit_vision.models.torchvision_backbone import TorchvisionBackbone


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["resnet18", "mobilenet_v2", "efficientnet_b0", "vit_b_16"])
def test_plain_state_dict_loads_into_torchvisions_own_network(arch):
    size = 224 if arch == "vit_b_16" else 64
    model = TransferClassifier(arch, weights=None, class_names=["a", "b", "c"], image_size=size).eval()
    plain = models.get_model(arch, num_classes=3).eval()
    plain.load_state_dict(model.export_state_dict(), strict=True)
    image = torch.rand(2, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(plain(image), model(image), atol=1e-5, rtol=0)


def test_a_file_that_the_notebook_saved_gives_its_logits(tmp_path):
    network = models.resnet18(weights=None)
    network.requires_grad_(False)
    network.fc = nn.Linear(512, 2)
    torch.save(network.state_dict(), tmp_path / "transfer_learning_torch.pth")
    model = TransferClassifier(weights=tmp_path / "transfer_learning_torch.pth", class_names=["ants", "bees"]).eval()
    assert model.trained
    image = torch.rand(2, 3, 224, 224)
    assert torch.equal(model(image), network.eval()(image))


def test_weights_of_another_head_give_the_backbone_alone(tmp_path):
    network = models.mobilenet_v2(weights=None)
    torch.save(network.state_dict(), tmp_path / "x.pth")
    model = TransferClassifier("mobilenet_v2", tmp_path / "x.pth", class_names=["a", "b"], image_size=32)
    assert not model.trained
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in model.backbone.state_dict().items())


def test_weights_of_another_network_name_the_first_keys(tmp_path):
    torch.save(models.resnet18(weights=None).state_dict(), tmp_path / "x.pth")
    with pytest.raises(
        UserError, match=r"x\.pth holds another network than MobileNetV2.*features\.0\.0\.weight is missing"
    ):
        TransferClassifier("mobilenet_v2", tmp_path / "x.pth", image_size=32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arch": "resnet81"}, "no network resnet81: did you mean resnet18"),
        ({"arch": "squeezenet1_0"}, "the last layer of squeezenet1_0 is AdaptiveAvgPool2d, not Linear"),
        ({"arch": "vit_b_16", "image_size": 64}, "vit_b_16 cannot take images of 64 pixels"),
        ({"weights": "IMAGENET"}, r"weights IMAGENET is neither a file.*IMAGENET1K_V1, DEFAULT or null"),
    ],
)
def test_what_cannot_be(options, message):
    with pytest.raises(UserError, match=message):
        TransferClassifier(**{"weights": None, **options})


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["regnet_y_400mf", "swin_t"])  # whose widths are computed with tensors
def test_any_network_can_be_built(arch):
    model = TransferClassifier(arch, None, image_size=64, class_names=["a", "b"]).eval()
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 2)


def test_no_network_says_where_the_file_goes(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"resnet18-\w+\.pth at .*checkpoints.resnet18-\w+\.pth.*--model.weights FILE"):
        TransferClassifier()
    assert not list(tmp_path.rglob("*.pth"))


def test_downloaded_weights_that_were_damaged_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    file = tmp_path / "checkpoints" / "resnet18-f37072fd.pth"
    file.parent.mkdir()
    torch.save({"a": torch.ones(1000)}, file)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"resnet18-f37072fd.pth is damaged .*: delete it"):
        TorchvisionBackbone("resnet18").download("DEFAULT")
