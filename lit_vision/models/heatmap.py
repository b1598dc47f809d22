"""Heatmaps of what speaks for a class, by LayerCAM.

Jiang et al., "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization", IEEE Transactions on Image
Processing, 2021.
"""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from lit_vision.errors import UserError
from lit_vision.models.modules import in_eval_mode

_FINE = 7  # pixels of the side of a feature map that is fine enough, as the last one of most networks at 224 pixels
_LEADING = 8  # most tokens before those of an image's parts: of classes, and registers, of which networks have four
_SKEW = 0.4  # largest difference of the logarithms of the aspects of an image and its feature map, a factor of 1.5
_OPACITY = 0.55  # of the colours over a picture where the map is 1


def heatmaps(model: nn.Module, image: Tensor, label: Tensor) -> Tensor:
    """Compute which parts of images speak for a class.

    It is the last feature map of at least 7x7 that has a gradient, or the last of the largest if all are smaller:
    activations times positive gradients of the class's logit, summed over the channels. The tokens of a transformer are
    a feature map, too. Parameters and the modes of modules stay as they are.

    Args:
        model: a network, (N, 3, H, W) -> logits (N, classes).
        image: (N, 3, H, W) floating point, normalised, on the network's device.
        label: (N,) int64, a class for each image.

    Returns:
        (N, H, W) float32 in [0, 1]; the largest value of each image is 1, unless nothing speaks for the class.

    Raises:
        UserError: the network has no feature map.
    """
    with torch.inference_mode(False), torch.enable_grad(), in_eval_mode(model):
        # The second clone is no leaf, so that a network may change the image in place
        image, label = image.clone().detach().requires_grad_().clone(), label.clone()
        # What was moved or copied in inference mode has no gradients, as in an evaluation by the Trainer
        state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        normal = {name: tensor.clone() for name, tensor in state.items() if tensor.is_inference()}
        with _noted_outputs(model) as outputs:
            logits = functional_call(model, normal, (image,))
        maps = _find_maps([one for one in outputs if one.requires_grad and len(one) == len(image)], image)
        logit = logits.gather(1, label[:, None]).sum()
        gradients = torch.autograd.grad(logit, [one.output for one in maps], allow_unused=True) if maps else ()
    found = [
        (one.in_order(one.output.detach()), one.in_order(gradient))
        for one, gradient in zip(maps, gradients, strict=True)
        if gradient is not None
    ]
    if not found:
        raise UserError(f"{type(model).__name__} has no feature map to draw a heatmap from: leave --heatmap out")
    # The patches of a transformer's last block have no gradient; with a head of zeros, no map has one
    found = [pair for pair in found if pair[1].any()] or found
    side = min(_FINE, max(min(activation.shape[2:]) for activation, _ in found))
    activation, gradient = next(pair for pair in reversed(found) if min(pair[0].shape[2:]) >= side)
    cam = (gradient.relu() * activation).float().sum(1, keepdim=True).relu()
    cam = F.interpolate(cam, image.shape[2:], mode="bilinear")[:, 0]
    peak = cam.amax((1, 2), keepdim=True)
    return cam / torch.where(peak > 0, peak, torch.ones_like(peak))


@contextmanager
def _noted_outputs(model: nn.Module) -> Iterator[list[Tensor]]:
    """Note what modules return, in their order; the network goes on with copies, which it may change in place."""
    outputs: list[Tensor] = []

    def note(module: nn.Module, args: object, output: object) -> Tensor | None:
        if not isinstance(output, Tensor) or output.dim() not in (3, 4):
            return None
        outputs.append(output)
        return output.clone()

    with ExitStack() as stack:
        for module in model.modules():
            if module is not model:
                stack.callback(module.register_forward_hook(note).remove)
        yield outputs


class _Map(NamedTuple):
    """A module's output that is a feature map; ``leading`` of its tokens are not of a part of the image."""

    output: Tensor
    rows: int
    columns: int
    channels_last: bool
    leading: int = 0

    def in_order(self, values: Tensor) -> Tensor:
        """The output, or its gradient, as (N, C, rows, columns)."""
        if values.dim() == 3:
            values = values[:, self.leading :].unflatten(1, (self.rows, self.columns))
        return values.permute(0, 3, 1, 2) if self.channels_last else values


def _find_maps(outputs: list[Tensor], image: Tensor) -> list[_Map]:
    """The feature maps among outputs: (N, C, h, w), (N, h, w, C), or tokens (N, T, C) for the parts of an earlier one.

    Attention has other tensors of four dimensions, (N, heads, T, channels) and (N, heads, T, T): T tells them apart.
    """
    maps: list[_Map] = []
    token_counts: set[int] = set()
    for output in outputs:
        found = _tokens(output, maps) if output.dim() == 3 else _grid(output, image)
        if found is not None and token_counts.isdisjoint((found.rows, found.columns)):
            maps.append(found)
            token_counts |= {output.shape[1]} if output.dim() == 3 else set()
    return maps


def _grid(output: Tensor, image: Tensor) -> _Map | None:
    """A feature map of four dimensions, whose aspect says which of them are its sides."""
    _, first, second, third = output.shape
    aspect = math.log(image.shape[2] / image.shape[3])
    skews = [abs(math.log(rows / columns) - aspect) for rows, columns in ((second, third), (first, second))]
    channels_last = skews[1] < skews[0]
    rows, columns = (first, second) if channels_last else (second, third)
    return _Map(output, rows, columns, channels_last) if min(rows, columns) > 1 and min(skews) < _SKEW else None


def _tokens(output: Tensor, maps: list[_Map]) -> _Map | None:
    """Tokens of the parts of the latest map of as many; of a square if there is no map, as patches may be cut out."""
    count = output.shape[1]
    grids = [(one.rows, one.columns) for one in reversed(maps)] or [(math.isqrt(count), math.isqrt(count))]
    for rows, columns in grids:
        if min(rows, columns) > 1 and 0 <= count - rows * columns <= (_LEADING if maps else 1):
            return _Map(output, rows, columns, True, count - rows * columns)
    return None


def overlay(image: Tensor, heatmap: Tensor) -> Tensor:
    """Lay a heatmap over a picture, in colours from dark to yellow.

    Args:
        image: (3, H, W) uint8.
        heatmap: (H, W) floating point in [0, 1].

    Returns:
        (3, H, W) uint8.
    """
    from matplotlib import colormaps  # slow to import

    colours = torch.from_numpy(colormaps["inferno"](heatmap.numpy())[..., :3]).permute(2, 0, 1) * 255
    return (image * (1 - _OPACITY) + colours * _OPACITY).round().clamp(0, 255).to(torch.uint8)
