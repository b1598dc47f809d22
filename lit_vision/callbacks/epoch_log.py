import csv
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger

from lit_vision.callbacks.progress import print_line
from lit_vision.plots import plot_curves
from lit_vision.runs import run_folder
from lit_vision.utils.files import atomic_write

Row = dict[str, float]

_COLUMNS = ["epoch", "step", "train/loss", "train/acc", "val/loss", "val/acc", "lr"]
_TIMES = ["time/images_per_second", "time/epoch"]


class EpochLog(Callback):
    """One row per epoch: a printed line, metrics.csv, and curves.png at the end.

    It logs ``lr``, and ``time/images_per_second`` of training alone. The rows are part of every checkpoint, so that a
    resumed run goes on with them. Epochs count from 1; ``time/epoch`` is in seconds and has validation in it. The model
    must count as a Classifier does.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._start = 0.0
        self._val_seconds = 0.0
        self._seen_before = 0
        self._val_metrics: Row = {}

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after these rows."""
        self.rows = list(state_dict["rows"])

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start the clock, since an epoch that is resumed has no start of its own."""
        self._start_clock(pl_module.images_seen)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._start_clock(0)

    def _start_clock(self, seen_before: int) -> None:
        self._start = time.perf_counter()
        self._val_seconds = 0.0
        self._seen_before = seen_before
        self._val_metrics = {}

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take validation out of the training time."""
        self._val_seconds -= time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep what this epoch's validation found."""
        self._val_seconds += time.perf_counter()
        metrics = trainer.callback_metrics
        self._val_metrics = {key: metrics[key].item() for key in ("val/loss", "val/acc") if key in metrics}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Write the epoch's row; before the checkpoint that will hold it."""
        train_metrics = {key: value.item() for key, value in pl_module.epoch_metrics("train").items()}
        seconds = time.perf_counter() - self._start
        images = (pl_module.images_seen - self._seen_before) * trainer.world_size
        logged = {
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "time/images_per_second": images / (seconds - self._val_seconds),
        }
        pl_module.log_dict(logged)
        count = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        self.rows.append({**count, **train_metrics, **self._val_metrics, **logged, "time/epoch": seconds})
        print_line(trainer, _line(self.rows[-1], trainer.max_epochs))
        own_table = any(isinstance(logger, CSVLogger) for logger in trainer.loggers)
        if (folder := run_folder(trainer)) and not own_table:
            _write_csv(self.rows, folder / "metrics.csv")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the curves."""
        self._draw(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Draw the curves of a run that was stopped, too."""
        with suppress(OSError):  # a full disk is what ended it, perhaps
            self._draw(trainer)

    def _draw(self, trainer: Trainer) -> None:
        if self.rows and (folder := run_folder(trainer)):
            plot_curves(self.rows, folder / "curves.png")


def _line(row: Row, max_epochs: int | None) -> str:
    of = f"/{max_epochs}" if max_epochs and max_epochs > 0 else ""
    names = {"loss": "train/loss", "acc": "train/acc", "val_loss": "val/loss", "val_acc": "val/acc"}
    numbers = "".join(f"  {name} {row[key]:.4f}" for name, key in names.items() if key in row)
    return f"epoch {row['epoch']}{of}{numbers}  {row['time/epoch']:.1f} s"


def _write_csv(rows: Sequence[Row], path: Path) -> None:
    with atomic_write(path) as beside, beside.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*_COLUMNS, *_TIMES])
        writer.writeheader()
        writer.writerows(rows)
