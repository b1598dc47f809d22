"""Test-time augmentation: average the logits over several views of each image."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor


def mean_over_views(network: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """Average the logits over six views: the image, moved by a pixel up left and down right, and all three mirrored.

    The two views that are not moved have half of the total weight. After Keller Jordan, "94% on CIFAR-10 in 3.29
    Seconds on a Single GPU", arXiv 2404.00498, 2024.

    Args:
        network: the network, (N, 3, H, W) -> logits (N, classes).
        image: (N, 3, H, W), normalised; H and W are at least 2.

    Returns:
        Logits (N, classes).
    """
    height, width = image.shape[2:]
    padded = F.pad(image, (1, 1, 1, 1), mode="reflect")
    up_left, down_right = padded[:, :, 2:, 2:], padded[:, :, :height, :width]
    still = network(image) + network(image.flip(-1))
    moved = sum(network(view) + network(view.flip(-1)) for view in (up_left, down_right))
    return still / 4 + moved / 8
