"""The order of the images in an epoch."""

import torch
from torch import Tensor

from lit_vision.data.balance import balanced_order
from lit_vision.data.rng import random_permutation


class EpochSampler:
    """The order of a split: a shuffle determined by (seed, epoch), or the split's own order without a seed.

    Args:
        labels: (size,) int64.
        seed: seed of the shuffle; None keeps the order.
        balance: draw all classes equally often, see :func:`balanced_order`.
        chosen: (n,) int64, positions in the split to which the order is limited; only without a seed.
    """

    def __init__(self, labels: Tensor, seed: int | None, balance: bool = False, chosen: Tensor | None = None) -> None:
        self.labels = labels
        self.chosen = chosen
        self.size = len(labels) if chosen is None else len(chosen)
        self.seed = seed
        self.balance = balance
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the order is for."""
        self.epoch = epoch

    def tensor(self) -> Tensor:
        """Return the order, (size,) int64."""
        if self.chosen is not None:
            return self.chosen
        if self.seed is None:
            return torch.arange(self.size)
        if self.balance:
            return balanced_order(self.labels, self.seed, self.epoch)
        return random_permutation(self.size, self.seed, "order", self.epoch)
