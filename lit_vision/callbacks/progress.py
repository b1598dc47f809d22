from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm


class EpochBar(TQDMProgressBar):
    """Lightning's progress bar, redrawn a hundred times per epoch at most instead of at every small step."""

    def on_train_epoch_start(self, trainer: Trainer, *_: object) -> None:
        """Fit the rate to the epoch."""
        batches = self.total_train_batches
        self._refresh_rate = max(1, int(batches / 100)) if batches != float("inf") else 100
        super().on_train_epoch_start(trainer)

    def init_validation_tqdm(self) -> Tqdm:
        """No second bar: validation is short beside an epoch of training."""
        bar = super().init_validation_tqdm()
        bar.leave = False
        return bar


def print_line(trainer: Trainer, line: str) -> None:
    """Print on the first process, above a progress bar if there is one."""
    bar = trainer.progress_bar_callback
    if isinstance(bar, TQDMProgressBar) and bar.is_enabled:
        bar.print(line)
    elif trainer.is_global_zero:
        print(line, flush=True)
