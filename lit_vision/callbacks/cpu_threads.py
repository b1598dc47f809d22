from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_vision.data.batch import Batch

# Up to ten images of 32x32 a second thread saves SmallCNN, with its 66,722 parameters, next to nothing.
_SMALL_BATCH = 2**15  # values
_SMALL_NETWORK = 2**18  # parameters


class OneThreadForSmallBatches(Callback):
    """Train small networks with small batches in one thread of the CPU, all else in all of them.

    Threads wait for each other by spinning. That saves small batches next to nothing, and costs them many times
    their time where another process wants the same cores.
    """

    def __init__(self) -> None:
        self._all = torch.get_num_threads()
        self._training: int | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Learn how many there are, of which Lightning gives each of several processes its share."""
        self._all = torch.get_num_threads()
        self._training = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        """Choose by the first batch of an epoch; the others are as large, but for the last."""
        if self._training is None:
            parameters = sum(parameter.numel() for parameter in pl_module.parameters())
            small = batch.image.numel() <= _SMALL_BATCH and parameters <= _SMALL_NETWORK
            self._training = 1 if small and batch.image.device.type == "cpu" else self._all
        self._use(self._training)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give all back, and choose anew: the first epochs may have smaller images."""
        self._training = None
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
