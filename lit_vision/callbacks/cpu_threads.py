"""The number of CPU threads for training."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from typing_extensions import override

from lit_vision.data.batch import Batch, FeatureBatch, MixedBatch
from lit_vision.utils.log import log_info

# On two cores (AVX2), an epoch of SmallCNN (66,722 parameters) on shapes, in batches of 32 images of 32x32, takes 2.9 s
# in one thread and 2.3 s in two. Beside one busy process it takes 2.6 s and 6.8 s, beside four 8.2 s and 14.0 s.
_SMALL_BATCH = 2**17  # values: 42 images of 32x32
_SMALL_NETWORK = 2**18  # parameters


class OneThreadForSmallBatches(Callback):
    """Trains small networks with small batches in one CPU thread, and runs everything else in all threads.

    Threads wait for each other by spinning. With small batches, more threads save little time, and if another process
    wants the same cores, they take much longer. Batches of other data modules are trained in all threads.
    """

    def __init__(self) -> None:
        self._all = torch.get_num_threads()
        self._before: int | None = None  # threads of the run of the checkpoint
        self._training: int | None = None  # threads for this epoch's training, None until its first batch

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"threads": self._all}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._before = state_dict["threads"]

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the user if a run goes on with another number of threads, which rounds in another way."""
        if self._before not in (None, self._all) and pl_module.device.type == "cpu":
            log_info(
                f"the checkpoint was trained with {self._before} CPU threads, not {self._all}: last digits may differ"
            )

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the thread count; Lightning divides the cores among ranks."""
        self._all = torch.get_num_threads()
        self._training = None

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Choose by the first batch of an epoch; the others are as large, except the last."""
        if self._training is None:
            values = _values(batch)
            parameters = sum(parameter.numel() for parameter in pl_module.parameters())
            small = values is not None and values.numel() <= _SMALL_BATCH and parameters <= _SMALL_NETWORK
            self._training = 1 if small and values is not None and values.device.type == "cpu" else self._all
        _use(self._training)

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Use all threads, and choose again at the first batch: the first epochs may have smaller images."""
        self._training = None
        _use(self._all)

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Use all threads: validation batches are at least as large as those of training."""
        _use(self._all)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _use(self._all)

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        _use(self._all)

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Use all threads again after a run that ended in the middle of an epoch."""
        if stage == "fit":
            _use(self._all)


def _values(batch: object) -> Tensor | None:
    """Return the network's input in a batch, or None if it is not a Batch or FeatureBatch."""
    if isinstance(batch, Batch | MixedBatch):
        return batch.image
    return batch.features if isinstance(batch, FeatureBatch) else None


def _use(threads: int) -> None:
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
