"""Stages of a pretrained network, and which of its layers are trained."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models import vision_transformer

from lit_vision.errors import UserError

Unfreeze = Literal["head", "norm", "all"] | int
"""Which layers are trained beside the head: none, all normalisation layers, all layers, or the last stages."""

_SIDE = 224  # pixels, a size that every network of torchvision takes
_CONTAINERS = (nn.Sequential, nn.ModuleList, vision_transformer.Encoder)


class LayerStage(NamedTuple):
    """Consecutive layers of a network.

    Attributes:
        name: names of the first and the last of these layers.
        params: names of their parameters in the whole network.
    """

    name: str
    params: list[str]


def find_stages(network: nn.Module) -> list[LayerStage]:
    """Divide a network of torchvision without its head into stages, in the order of the forward pass.

    A stage has the layers whose feature maps are of the same size. Layers after the last feature map belong to the last
    stage. Each block of a transformer that keeps the number of its tokens is a stage of its own, as in the literature
    on layer-wise learning rates. Layers that take no part in evaluation, such as auxiliary classifiers, are in none.

    Args:
        network: the network, on the meta device and in eval mode.
    """
    units = dict(_units(network))
    shapes: dict[str, torch.Size] = {}

    def note(name: str) -> None:
        def hook(module: nn.Module, args: object, output: Tensor) -> None:
            shapes.setdefault(name, output.shape)

        units[name].register_forward_hook(hook)

    for name in units:
        note(name)
    network(torch.empty(1, 3, _SIDE, _SIDE, device="meta"))
    stages: list[list[str]] = []
    side = float("inf")
    for name, shape in shapes.items():
        if next(units[name].parameters(), None) is None:
            continue
        own = _side(shape)
        is_block = len(shape) == 3 and not is_norm(units[name])
        if not stages or is_block or (own is not None and own < 0.75 * side):  # valid convolutions lose a few pixels
            stages.append([])
        stages[-1].append(name)
        side = side if own is None else own
    names = [[f"{unit}.{name}" for unit in stage for name, _ in units[unit].named_parameters()] for stage in stages]
    inside = tuple(f"{unit}." for unit in units)
    names[0] += [name for name, _ in network.named_parameters() if not name.startswith(inside)]  # such as class_token
    return [LayerStage(_span(stage), params) for stage, params in zip(stages, names, strict=True)]


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a normalisation layer, of torch or of another library."""
    return "norm" in type(module).__name__.lower() and any(True for _ in module.parameters(recurse=False))


def trained_stages(stages: Sequence[LayerStage], unfreeze: Unfreeze, network: nn.Module) -> list[LayerStage]:
    """Select what is trained of each stage; stages of which nothing is trained have no parameters.

    Args:
        stages: the stages of the network.
        unfreeze: which layers are trained.
        network: the network.

    Raises:
        UserError: there are not so many stages.
    """
    if unfreeze == "norm":
        norms = {
            f"{name}.{param}"
            for name, module in network.named_modules()
            if is_norm(module)
            for param, _ in module.named_parameters(recurse=False)
        }
        return [LayerStage(name, [param for param in params if param in norms]) for name, params in stages]
    count = {"head": 0, "all": len(stages)}.get(unfreeze, unfreeze) if isinstance(unfreeze, str) else unfreeze
    assert isinstance(count, int)
    if not 0 <= count <= len(stages) or (count == 0 and unfreeze != "head"):
        raise UserError(
            f"unfreeze {unfreeze} is out of range: use --model.unfreeze from 1 to {len(stages)}, the number of stages, "
            "or head, norm or all"
        )
    first = len(stages) - count
    return [LayerStage(stage.name, stage.params if place >= first else []) for place, stage in enumerate(stages)]


def _units(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if isinstance(child, _CONTAINERS):
            yield from _units(child, f"{prefix}{name}.")
        else:
            yield prefix + name, child


def _side(shape: torch.Size) -> int | None:
    """The side of a feature map, (N, C, H, W) or (N, H, W, C); None for other shapes and after global pooling."""
    if len(shape) != 4:
        return None
    side = shape[1] if shape[1] == shape[2] != shape[3] else shape[2]
    return side if side > 1 else None


def _span(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
