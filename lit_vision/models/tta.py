"""Test-time augmentation: what a network says of an image is the mean over several views of it."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor


def mean_over_views(network: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """The mean logits over six views: the image, moved by a pixel up and left, down and right, and these mirrored.

    The two that are not moved count for one half. After Keller Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single
    GPU", arXiv 2404.00498, 2024.

    Args:
        network: (N, 3, H, W) -> logits (N, classes).
        image: (N, 3, H, W).

    Returns:
        (N, classes).
    """
    height, width = image.shape[2:]
    padded = F.pad(image, (1, 1, 1, 1), mode="reflect")
    up_left, down_right = padded[:, :, 2:, 2:], padded[:, :, :height, :width]
    still = network(image) + network(image.flip(-1))
    moved = sum(network(view) + network(view.flip(-1)) for view in (up_left, down_right))
    return still / 4 + moved / 8
