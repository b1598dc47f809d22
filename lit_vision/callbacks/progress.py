"""The progress bar of a terminal."""

import time

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from tqdm import tqdm
from typing_extensions import override


class EpochBar(TQDMProgressBar):
    """Lightning's progress bar, redrawn at most about a hundred times an epoch, which is cheaper with small steps.

    It shows the time that is left of the whole run, as ``left``, if that has a number of epochs.
    """

    _batches_per_redraw = 1
    _start = 0.0
    _last_epoch: float | None = None  # seconds, with validation

    @property
    @override
    def refresh_rate(self) -> int:
        given = super().refresh_rate
        return max(given, self._batches_per_redraw) if given else 0  # 0 disables the bar

    @override
    def on_train_epoch_start(self, trainer: Trainer, *_: object) -> None:
        """Fit the rate to the epoch, and count epochs from 1 as the printed lines do."""
        now, batches = time.monotonic(), self.total_train_batches
        self._last_epoch = now - self._start if self._start and trainer.current_epoch else None
        self._start = now
        self._batches_per_redraw = max(1, int(batches) // 100) if batches != float("inf") else 100
        super().on_train_epoch_start(trainer)
        limit = trainer.max_epochs
        of = f"/{limit}" if limit is not None and limit > 0 else ""
        self.train_progress_bar.set_description(f"epoch {trainer.current_epoch + 1}{of}")

    @override
    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Return all metrics of the bar but the version number, which the first printed line has, and the time left."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        if (left := self._left(trainer)) is not None:
            metrics["left"] = tqdm.format_interval(left)
        return metrics

    def _left(self, trainer: Trainer) -> float | None:
        """Seconds until the end of the run, judged by the epoch before this one, or by the part of the first one."""
        batches, done = self.total_train_batches, self.train_progress_bar.n
        if not trainer.training or (trainer.max_epochs or 0) <= 0 or batches == float("inf") or not done:
            return None
        part = min(1.0, done / batches)
        epoch = self._last_epoch or (time.monotonic() - self._start) / part
        return (trainer.max_epochs - trainer.current_epoch - part) * epoch  # type: ignore[operator]  # it is a number
