import pytest
import torch
from torch import nn
from torchvision import models

from lit_vision.models.folding import fold_batch_norms


def randomize(network):
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, least, most in [
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 1.5),
                (module.weight.data, 0.8, 1.2),
                (module.bias.data, -0.1, 0.1),
            ]:
                tensor.uniform_(least, most, generator=generator)
    return network.double().eval()


def gradients(network, forward, image):
    network.zero_grad()
    features = forward(image)
    (features * torch.linspace(-1, 1, features.numel(), dtype=features.dtype).view_as(features)).sum().backward()
    return features, {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["resnet18", "mobilenet_v2", "densenet121", "googlenet", "regnet_y_400mf"])
def test_features_and_gradients_are_those_of_the_network_itself(arch):
    torch.manual_seed(0)
    options = {"init_weights": False, "aux_logits": False} if arch == "googlenet" else {}
    network = randomize(models.get_model(arch, weights=None, num_classes=4, **options))
    folded = fold_batch_norms(network)
    assert folded is not None
    names = set(network.state_dict())
    image = torch.rand(2, 3, 64, 64, dtype=torch.double)
    features, expected = gradients(network, network, image)
    same, found = gradients(network, folded, image)
    torch.testing.assert_close(same, features)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, msg=lambda text, name=name: f"{name}: {text}")
    assert set(network.state_dict()) == names


def test_norms_alone_are_trained_without_gradients_of_the_convolutions():
    network = randomize(models.resnet18(num_classes=4))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.requires_grad_(False)
    image = torch.rand(1, 3, 32, 32, dtype=torch.double)
    _, expected = gradients(network, network, image)
    _, found = gradients(network, fold_batch_norms(network), image)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient)


class TwoUses(nn.Module):
    """A convolution whose result is used beside its BatchNorm: the fold would change the other use."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)

    def forward(self, image):
        convolved = self.conv(image)
        return convolved + self.norm(convolved)


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3))

    def forward(self, image):
        return self.layers(image) if image.mean() > 0 else image


@pytest.mark.parametrize(
    "network",
    [
        TwoUses(),
        Branches(),
        nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(3)),
        nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3, track_running_stats=False)),
        nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU(), nn.BatchNorm2d(3)),
    ],
)
def test_networks_that_cannot_be_folded(network):
    assert fold_batch_norms(network.eval()) is None
