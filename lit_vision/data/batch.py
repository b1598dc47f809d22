from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """What flows from the loader through the transforms into the model.

    Attributes:
        image: (N, 3, H, W); uint8 as it leaves the loader, float32 and normalised once it is on the device.
        label: (N,) int64, an index into the class names.
        index: (N,) int64, the image's place in its split.
    """

    image: Tensor
    label: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which a batch has no use for


def evenly_spaced(size: int, count: int) -> Tensor:
    """Up to ``count`` of the numbers below ``size``, evenly, (n,) int64: of a set sorted by class some of each."""
    chosen = min(size, count)
    return torch.arange(chosen) * size // max(1, chosen)
