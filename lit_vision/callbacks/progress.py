from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar


class EpochBar(TQDMProgressBar):
    """Lightning's progress bar, redrawn at most a hundred times an epoch instead of at every small step."""

    def on_train_epoch_start(self, trainer: Trainer, *_: object) -> None:
        """Fit the rate to the epoch, and count epochs from 1 as the printed lines do."""
        batches = self.total_train_batches
        self._refresh_rate = max(1, int(batches) // 100) if batches != float("inf") else 100
        super().on_train_epoch_start(trainer)
        self.train_progress_bar.set_description(f"epoch {trainer.current_epoch + 1}")

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Without the version number, which the first printed line names."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics


def print_line(trainer: Trainer, line: str) -> None:
    """Print on the first process, above a progress bar if there is one."""
    bar = trainer.progress_bar_callback
    if isinstance(bar, TQDMProgressBar) and bar.is_enabled:
        bar.print(line)
    elif trainer.is_global_zero:
        print(line, flush=True)
