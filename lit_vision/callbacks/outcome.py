from typing import Any, NamedTuple

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from lit_vision.data.batch import Batch, evenly_spaced


class Predictions(NamedTuple):
    """What a network made of a split: one entry for each image that was looked at, on the CPU.

    Attributes:
        index: (N,) int64, the image's place in the split.
        label: (N,) int64, its true class.
        predicted: (N,) int64, the class that the network thinks most likely.
        probability: (N,) float32, how likely, in [0, 1].
    """

    index: Tensor  # type: ignore[assignment]  # hides tuple.index
    label: Tensor
    predicted: Tensor
    probability: Tensor

    def mistakes(self) -> "Predictions":
        """Those that are wrong, the most confident first."""
        wrong = self._select(self.predicted != self.label)
        return wrong._select(wrong.probability.argsort(descending=True, stable=True))

    def first(self, count: int) -> "Predictions":
        """Up to so many from the start."""
        return Predictions(*(column[:count] for column in self))

    def evenly_spaced(self, count: int) -> "Predictions":
        """Up to so many, evenly over the split: of a set sorted by class, some of each."""
        return self._select(evenly_spaced(len(self.index), count))

    def confusion(self, classes: int) -> Tensor:
        """(classes, classes) int64: counts, true classes in rows, predicted ones in columns."""
        return torch.bincount(self.label * classes + self.predicted, minlength=classes**2).view(classes, classes)

    def _select(self, which: Tensor) -> "Predictions":
        return Predictions(*(column[which] for column in self))


class PredictionCollector:
    """Gathers the outcome of a split batch by batch on the device, so that no step waits for it.

    Args:
        loader: a BatchLoader.
        device: of the network.
    """

    def __init__(self, loader: Any, device: torch.device) -> None:
        self._labels = loader.labels
        self._predicted = torch.zeros(len(loader.labels), dtype=torch.int64, device=device)  # plus one; 0 is not seen
        self._probability = torch.zeros(len(loader.labels), device=device)

    def add(self, batch: Batch, logits: Tensor) -> None:
        """Note one batch: logits (N, classes)."""
        probability, predicted = logits.detach().float().softmax(1).max(1)
        self._predicted[batch.index] = predicted + 1
        self._probability[batch.index] = probability

    def outcome(self, trainer: Trainer) -> Predictions:
        """Of all processes together; to be called in each of them."""
        # each image is zero in all processes but one
        predicted = trainer.strategy.reduce(self._predicted, reduce_op="sum").cpu()
        probability = trainer.strategy.reduce(self._probability, reduce_op="sum").cpu()
        index = predicted.nonzero().flatten()
        return Predictions(index, self._labels[index], predicted[index] - 1, probability[index])
