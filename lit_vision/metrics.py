"""Loss and accuracy of an epoch, and the predictions for a split."""

from typing import NamedTuple, TypeGuard

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from lit_vision.data.batch import Batch, FeatureBatch, evenly_spaced
from lit_vision.data.loader import BatchLoader


class MetricSums:
    """Sums over the samples of an epoch, kept on the device so that no step waits for them.

    torchmetrics would sum in float32, and could not resume within an epoch.
    """

    def __init__(self) -> None:
        self.loss = torch.zeros((), dtype=torch.float64)
        self.correct = torch.zeros((), dtype=torch.int64)
        self.count = 0

    def add(self, loss: Tensor, logits: Tensor, label: Tensor) -> None:
        """Add one batch.

        Args:
            loss: mean loss over the batch, a scalar.
            logits: (N, classes) floating point.
            label: (N,) int64.
        """
        if self.loss.device != loss.device:
            self._to(loss.device)
        self.loss.add_(loss.detach(), alpha=len(label))
        self.correct.add_((logits.argmax(1) == label).sum())
        self.count += len(label)

    def _to(self, device: torch.device) -> None:
        # A float32 sum of 10,000 losses would drift in the fourth digit; Apple's GPUs have no float64.
        wide = torch.float32 if device.type == "mps" else torch.float64
        self.loss = self.loss.to(device, wide)
        self.correct = self.correct.to(device)

    def sums(self) -> Tensor:
        """Return the sums, (3,): loss, correct predictions, samples."""
        return torch.stack([self.loss, self.correct.to(self.loss.dtype), self.loss.new_tensor(self.count)])

    def over_processes(self, trainer: Trainer, device: torch.device) -> Tensor:
        """Return :meth:`sums` of all processes together, on ``device``; each of them must call this."""
        sums = trainer.strategy.reduce(self.sums().to(device), reduce_op="sum")
        assert isinstance(sums, Tensor)
        return sums

    def load(self, sums: Tensor) -> None:
        """Continue from saved :meth:`sums`."""
        self.loss.copy_(sums[0])
        self.correct.copy_(sums[1])
        self.count = int(sums[2])


def epoch_means(sums: Tensor, stage: str) -> dict[str, Tensor]:
    """Compute the means over the samples of an epoch, float32 scalars named ``stage/loss`` and ``stage/acc``.

    Args:
        sums: (3,), as returned by :meth:`MetricSums.sums`.
        stage: train, val or test.
    """
    means = (sums[:2] / sums[2]).to(torch.float32)
    return {f"{stage}/loss": means[0], f"{stage}/acc": means[1]}


class Predictions(NamedTuple):
    """Predictions for the images of a split, on the CPU: one entry for each image that was seen.

    Attributes:
        index: (N,) int64, position of the image in the split.
        label: (N,) int64, true class.
        predicted: (N,) int64, most probable class.
        probability: (N,) float32, probability of that class, in [0, 1].
        uncalibrated: (N,) float32, the same before it was calibrated.
    """

    index: Tensor  # type: ignore[assignment]  # hides tuple.index
    label: Tensor
    predicted: Tensor
    probability: Tensor
    uncalibrated: Tensor

    def mistakes(self) -> "Predictions":
        """Select the wrong predictions, the most confident first."""
        wrong = self._select(self.predicted != self.label)
        return wrong._select(wrong.probability.argsort(descending=True, stable=True))

    def first(self, count: int) -> "Predictions":
        """Select up to ``count`` entries from the start."""
        return Predictions(*(column[:count] for column in self))

    def evenly_spaced(self, count: int) -> "Predictions":
        """Select up to ``count`` entries, evenly spaced; in a split sorted by class, they cover the classes evenly."""
        return self._select(evenly_spaced(len(self.index), count))

    def confusion(self, classes: int) -> Tensor:
        """Count the predictions, (classes, classes) int64: true classes in rows, predicted classes in columns."""
        return multiclass_confusion_matrix(self.predicted, self.label, classes)

    def _select(self, chosen: Tensor) -> "Predictions":
        return Predictions(*(column[chosen] for column in self))


def are_logits(outputs: object, batch: Batch | FeatureBatch) -> TypeGuard[Tensor]:
    """Whether what a step returned are logits (N, classes) of a batch; a network of one's own may return a loss."""
    return isinstance(outputs, Tensor) and outputs.dim() == 2 and len(outputs) == len(batch.label)


class PredictionCollector:
    """Collects the predictions for a split batch by batch on the device, so that no step waits for them.

    Args:
        loader: loader of the split.
        device: the network's device.
        temperature: by which logits are divided for calibrated probabilities.
    """

    def __init__(self, loader: BatchLoader, device: torch.device, temperature: float = 1.0) -> None:
        self._labels = loader.labels
        self._temperature = temperature
        self._predicted = torch.zeros(len(loader.labels), dtype=torch.int64, device=device)  # class + 1; 0: not seen
        self._probability = torch.zeros(len(loader.labels), 2, device=device)  # calibrated, uncalibrated

    def add(self, batch: Batch | FeatureBatch, logits: Tensor) -> None:
        """Add the predictions for one batch from its logits (N, classes)."""
        logits = logits.detach().float()
        uncalibrated, predicted = logits.softmax(1).max(1)
        calibrated = (logits / self._temperature).softmax(1).amax(1)
        self._predicted[batch.index] = predicted + 1
        self._probability[batch.index] = torch.stack([calibrated, uncalibrated], 1)

    def predictions(self, trainer: Trainer) -> Predictions:
        """Return the predictions of all processes together; each of them must call this."""
        # each image's entry is zero in all processes but one
        predicted = trainer.strategy.reduce(self._predicted, reduce_op="sum").cpu()
        probability = trainer.strategy.reduce(self._probability, reduce_op="sum").cpu()
        index = predicted.nonzero().flatten()
        return Predictions(index, self._labels[index], predicted[index] - 1, *probability[index].unbind(1))
