"""torchvision's classification networks without their last layer, and weights for them."""

import difflib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision import models

from lit_vision.errors import UserError
from lit_vision.models.modules import first_line
from lit_vision.models.unfreeze import LayerStage, find_stages
from lit_vision.models.weights_file import WeightsFile, read_weights


class Backbone(NamedTuple):
    """A network without its last layer.

    Attributes:
        network: the frozen network with random weights, (N, 3, H, W) -> features (N, width).
        head_name: name of the last layer in the whole network, such as ``fc`` or ``classifier.1``.
        width: number of features of an image.
    """

    network: nn.Module
    head_name: str
    width: int


def make_backbone(arch: str) -> Backbone:
    """Build a network of torchvision without its last layer.

    Args:
        arch: name of a network that :func:`check_arch` accepts.
    """
    network = models.get_model(arch, weights=None).requires_grad_(False)
    name, head = _last_layer(network)
    assert isinstance(head, nn.Linear)
    _replace(network, name, nn.Identity())
    if isinstance(network, models.GoogLeNet | models.Inception3):
        network.transform_input = True  # their pretrained weights expect it
    return Backbone(network, name, head.in_features)


def check_arch(arch: str, image_size: int) -> None:
    """Try a network on the meta device, which takes no memory.

    Raises:
        UserError: torchvision has no such network, or the network does not end in a Linear layer or cannot take images
            of ``image_size`` pixels.
    """
    known = models.list_models(module=models)
    if arch not in known:
        close = difflib.get_close_matches(arch, known, n=3, cutoff=0.4)
        raise UserError(
            f"torchvision has no network {arch}: did you mean {' or '.join(close) or 'resnet18'}? (--model.arch)"
        )
    network = _on_meta(arch)
    name, head = _last_layer(network)
    if not isinstance(head, nn.Linear):
        raise UserError(f"the last layer of {arch} is {type(head).__name__}, not Linear: choose another --model.arch")
    _replace(network, name, nn.Identity())
    with torch.device("meta"):
        try:
            features = network(torch.empty(1, 3, image_size, image_size))
        except (RuntimeError, AssertionError, ValueError) as error:
            raise UserError(
                f"{arch} cannot take images of {image_size} pixels ({first_line(error)}): set --data.image_size to 224"
            ) from error
    if features.shape != (1, head.in_features):
        raise UserError(f"the last Linear layer of {arch} does not give its logits: choose another --model.arch")


def stages_of(arch: str) -> list[LayerStage]:
    """The stages of a network without its last layer, in the order of the forward pass."""
    network = _on_meta(arch)
    _replace(network, _last_layer(network)[0], nn.Identity())
    return find_stages(network)


def auxiliary_state(backbone: nn.Module) -> dict[str, Tensor]:
    """The weights of the auxiliary classifiers of GoogLeNet and Inception, which take no part in evaluation."""
    return {name: tensor for name, tensor in backbone.state_dict().items() if name.lower().startswith("aux")}


def read_backbone_weights(arch: str, weights: str | Path) -> WeightsFile:
    """Read the weights of a whole network, including its last layer.

    Args:
        arch: name of the network.
        weights: a file, or one of torchvision's names for weights, which are then downloaded.

    Raises:
        UserError: ``weights`` is neither a file nor a name, the download failed, or the file is broken.
    """
    names = [*models.get_model_weights(arch).__members__]
    if weights in names:
        return WeightsFile(weights, dict(_download(arch, str(weights))), {})
    if Path(weights).is_file():
        return read_weights(weights)
    raise UserError(
        f"weights {weights} is neither a file nor one of torchvision's for {arch}: set --model.weights to a file, "
        f"{', '.join(names)} or null"
    )


def _download(arch: str, name: str) -> Mapping[str, Tensor]:
    weights = models.get_model_weights(arch)[name]
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    try:
        return weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(
            f"cannot download torchvision's weights {name} of {arch} ({error}): put {weights.url} at {file}, or name a "
            "file with --model.weights FILE"
        ) from error


def _on_meta(arch: str) -> nn.Module:
    """Build a network in eval mode on the meta device, which takes no memory and no time to initialise."""
    try:
        with torch.device("meta"):
            network: nn.Module = models.get_model(arch, weights=None)
    except (NotImplementedError, RuntimeError):  # RegNet and Swin compute their widths with tensors
        network = models.get_model(arch, weights=None).to("meta")
    return network.eval()


def _last_layer(network: nn.Module) -> tuple[str, nn.Module]:
    return [(name, module) for name, module in network.named_modules() if not next(module.children(), None)][-1]


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)
