"""The progress bar of a terminal."""

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from typing_extensions import override


class EpochBar(TQDMProgressBar):
    """Lightning's progress bar, redrawn at most about a hundred times an epoch, which is cheaper with small steps."""

    _batches_per_redraw = 1

    @property
    @override
    def refresh_rate(self) -> int:
        given = super().refresh_rate
        return max(given, self._batches_per_redraw) if given else 0  # 0 disables the bar

    @override
    def on_train_epoch_start(self, trainer: Trainer, *_: object) -> None:
        """Fit the rate to the epoch, and count epochs from 1 as the printed lines do."""
        batches = self.total_train_batches
        self._batches_per_redraw = max(1, int(batches) // 100) if batches != float("inf") else 100
        super().on_train_epoch_start(trainer)
        limit = trainer.max_epochs
        of = f"/{limit}" if limit is not None and limit > 0 else ""
        self.train_progress_bar.set_description(f"epoch {trainer.current_epoch + 1}{of}")

    @override
    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Return all metrics of the bar but the version number, which the first printed line has."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics
