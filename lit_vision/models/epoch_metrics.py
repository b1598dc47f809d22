from typing import Any, Literal

from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from torch import Tensor
from torchmetrics.classification import MulticlassF1Score
from typing_extensions import override

from lit_vision.metrics import MetricSums, epoch_means

Stage = Literal["train", "val", "test"]

F1 = "val/f1"


class EpochMetrics(LightningModule):
    """A LightningModule that logs loss and accuracy of each stage once an epoch, as means over all samples.

    It logs val/f1, the mean of the classes' F1 scores, if a callback monitors that.

    Checkpoints include the training sums of the current epoch, so that a resumed run counts every image once.
    """

    class_names: list[str]

    def __init__(self) -> None:
        super().__init__()
        self._sums: dict[str, MetricSums] = {}
        self._f1: list[MulticlassF1Score] = []  # a list, so that it is not taken for a layer of the network

    def metric_sums(self, stage: Stage) -> MetricSums:
        """The sums of this epoch so far, in this process, to which a step adds."""
        if stage not in self._sums:
            self._sums[stage] = MetricSums()
        return self._sums[stage]

    def count(self, stage: Stage, loss: Tensor, logits: Tensor, label: Tensor) -> None:
        """Count a batch: its mean loss, its logits (N, classes) and its labels (N,)."""
        self.metric_sums(stage).add(loss, logits, label)
        if stage == "val":
            for f1 in self._f1:
                f1.update(logits.detach(), label)

    @property
    def images_seen(self) -> int:
        """Number of training images of this epoch that this process has counted so far."""
        return self._sums["train"].count if "train" in self._sums else 0

    @property
    def is_within_epoch(self) -> bool:
        """Whether a training epoch has begun, in this run or in the one that it resumes; the same in all processes."""
        return "train" in self._sums

    def epoch_metrics(self, stage: Stage) -> dict[str, Tensor]:
        """Loss and accuracy of the epoch so far, over all processes: float32 scalars; {} before the first batch."""
        sums = self._sums.get(stage)
        return {} if sums is None else epoch_means(sums.over_processes(self.trainer, self.device), stage)

    @override
    def on_train_epoch_start(self) -> None:
        self._sums.pop("train", None)

    @override
    def on_validation_epoch_start(self) -> None:
        self._sums.pop("val", None)
        callbacks: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]  # declared nowhere
        monitors = {found.monitor for found in callbacks if isinstance(found, ModelCheckpoint | EarlyStopping)}
        self._f1 = [MulticlassF1Score(len(self.class_names)).to(self.device)] if F1 in monitors else []

    @override
    def on_test_epoch_start(self) -> None:
        self._sums.pop("test", None)

    @override
    def on_train_epoch_end(self) -> None:
        self.log_dict(self.epoch_metrics("train"))

    @override
    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.epoch_metrics("val"), prog_bar=True)
        for f1 in self._f1:
            self.log(F1, f1.compute())

    @override
    def on_test_epoch_end(self) -> None:
        self.log_dict(self.epoch_metrics("test"))

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        if sums := self._sums.get("train"):
            checkpoint["train_sums"] = sums.over_processes(self.trainer, self.device)

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if "train_sums" in checkpoint:
            self._sums["train"] = MetricSums()
            if self.trainer.is_global_zero:  # the sums are those of all processes
                self._sums["train"].load(checkpoint["train_sums"])
