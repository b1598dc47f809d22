"""Test-time augmentation: average the logits over several views of each image."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_vision.errors import UserError


def check_tta(tta: bool | float) -> None:
    """Raise a UserError if the option is neither true, false nor a probability."""
    if not isinstance(tta, bool) and not 0 < tta <= 1:
        raise UserError(f"tta {tta} is out of range: use --model.tta true, false, or a probability above 0 and up to 1")


def over_views(
    network: Callable[[Tensor], Tensor], image: Tensor, tta: bool | float, temperature: float = 1.0
) -> Tensor:
    """Compute the logits (N, classes) of images (N, 3, H, W) as the option ``tta`` of a Classifier asks for."""
    if isinstance(tta, bool):
        return mean_over_views(network, image) if tta else network(image)
    return mean_over_views_of_unsure(network, image, tta, temperature)


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
    return (network(image) + _sum_of_others(network, image)) / 4


def mean_over_views_of_unsure(
    network: Callable[[Tensor], Tensor], image: Tensor, below: float, temperature: float
) -> Tensor:
    """Average the logits over six views as :func:`mean_over_views` does, for images of which one view is unsure.

    The others keep the logits of the one view, and take a sixth of the time. Which they are does not depend on the
    other images of a batch. After airbench94 of October 2025, which spends the views on a quarter of the images.

    Args:
        network: see :func:`mean_over_views`.
        image: see :func:`mean_over_views`.
        below: an image is unsure if its highest probability is below this, in (0, 1].
        temperature: number by which logits are divided for their probabilities.

    Returns:
        Logits (N, classes).
    """
    logits = network(image)
    unsure = (logits.float() / temperature).softmax(1).amax(1) < below
    if torch.compiler.is_exporting():  # a graph has no shapes that depend on values
        return torch.where(unsure[:, None], (logits + _sum_of_others(network, image)) / 4, logits)
    if unsure.any():
        logits[unsure] = (logits[unsure] + _sum_of_others(network, image[unsure])) / 4
    return logits


def _sum_of_others(network: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """The sum of the logits of the five other views, in which a view that is moved counts half."""
    height, width = image.shape[2:]
    padded = F.pad(image, (1, 1, 1, 1), mode="reflect")
    up_left, down_right = padded[:, :, 2:, 2:], padded[:, :, :height, :width]
    moved = [network(view) + network(view.flip(-1)) for view in (up_left, down_right)]
    return network(image.flip(-1)) + (moved[0] + moved[1]) / 2
