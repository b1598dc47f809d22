"""An order of training images in which all classes come equally often."""

import torch
from torch import Tensor

from lit_vision.data.rng import random_permutation


def balanced_order(labels: Tensor, seed: int, epoch: int) -> Tensor:
    """Draw as many images as there are, of each class the same number, give or take one.

    An image of a small class comes again only when all images of its class have come equally often.

    Args:
        labels: (N,) int64.
        seed: seed of the run.
        epoch: training epoch, counted from 0.

    Returns:
        Positions of the images, (N,) int64.
    """
    classes = labels.unique()
    share, rest = divmod(len(labels), len(classes))
    gets_more = random_permutation(len(classes), seed, "balance", epoch) < rest
    drawn = []
    for label, more in zip(classes.tolist(), gets_more.tolist(), strict=True):
        images, count = (labels == label).nonzero().flatten(), share + more
        rounds = -(-count // len(images))
        orders = [random_permutation(len(images), seed, "balance", epoch, label, part) for part in range(rounds)]
        drawn.append(images[torch.cat([*orders, images[:0]])[:count]])
    return torch.cat(drawn)[random_permutation(len(labels), seed, "order", epoch)]


def repetitions(order: Tensor) -> Tensor:
    """Count for each place of an order how often its image came before, (N,) int64."""
    sorted_order, places = order.sort(stable=True)
    first = torch.searchsorted(sorted_order, sorted_order)
    counts = torch.empty_like(order)
    counts[places] = torch.arange(len(order), device=order.device) - first
    return counts
