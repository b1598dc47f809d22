from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_vision.batch import Batch

_SMALL = 2**15  # values: ten images of 32x32, up to which a second thread saves nothing


class OneThreadForSmallBatches(Callback):
    """Train in one thread of the CPU while batches are small, with all of them otherwise.

    Threads wait for each other by spinning. That costs small batches more than it saves, and many times more where
    another process wants the same cores.
    """

    def __init__(self) -> None:
        self._all = torch.get_num_threads()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        """Choose for the batches that come, which are as large as this one."""
        if batch.image.device.type == "cpu":
            self._use(1 if batch.image.numel() <= _SMALL else self._all)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give all back."""
        self._use(self._all)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give all back, to larger batches."""
        self._use(self._all)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give all back."""
        self._use(self._all)

    def on_exception(self, *_: Any) -> None:
        """Give all back."""
        self._use(self._all)

    def _use(self, threads: int) -> None:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
