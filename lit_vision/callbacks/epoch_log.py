"""One row of metrics for each epoch: on the terminal, in metrics.csv, and as curves."""

import csv
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger
from typing_extensions import override

from lit_vision.callbacks.run_folder import run_folder
from lit_vision.models.classifier import Classifier
from lit_vision.plots import plot_curves
from lit_vision.runs import CURVES, METRICS, best_row
from lit_vision.utils.files import atomic_write

Row = dict[str, float]

_TRAIN, _VAL, _F1 = ("train/loss", "train/acc"), ("val/loss", "val/acc"), "val/f1"
_COLUMNS = ("epoch", "step", *_TRAIN, *_VAL, "lr", "time/images_per_second", "time/epoch")


class EpochLog(Callback):
    """One row for each epoch: a printed line, a line of metrics.csv, and points of curves.png at the end of the run.

    It logs ``lr``, and ``time/images_per_second`` of training without validation. The rows are part of each checkpoint,
    so a resumed run continues them. Epochs count from 1. ``time/epoch`` is in seconds and includes validation.

    The rows of a model that is not a Classifier have only those metrics that it logs under the same names, and no
    ``time/images_per_second``.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._start = 0.0
        self._val_seconds = 0.0
        self._seen_before = 0
        self._val_metrics: Row = {}

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock here, since an epoch that is resumed has no start of its own."""
        self._start_clock(pl_module.images_seen if isinstance(pl_module, Classifier) else 0)

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start_clock(0)

    def _start_clock(self, seen_before: int) -> None:
        self._start = time.perf_counter()
        self._val_seconds = 0.0
        self._seen_before = seen_before
        self._val_metrics = {}

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._val_seconds -= time.perf_counter()

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._val_seconds += time.perf_counter()
        self._val_metrics = _logged(trainer, (*_VAL, _F1))

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the epoch's row, before the checkpoint that will hold it is written."""
        if isinstance(pl_module, Classifier):
            train_metrics = {key: value.item() for key, value in pl_module.epoch_metrics("train").items()}
        else:
            train_metrics = _logged(trainer, _TRAIN)
        seconds = time.perf_counter() - self._start
        measured = {} if (lr := learning_rate(trainer)) is None else {"lr": lr}
        if isinstance(pl_module, Classifier):
            images = (pl_module.images_seen - self._seen_before) * trainer.world_size
            measured["time/images_per_second"] = images / (seconds - self._val_seconds)
        pl_module.log_dict(measured)
        count = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        self.rows.append({**count, **train_metrics, **self._val_metrics, **measured, "time/epoch": seconds})
        print_line(trainer, _line(self.rows[-1], trainer.max_epochs))
        folder = run_folder(trainer)
        if folder and not any(_writes_table(logger, folder) for logger in trainer.loggers):
            _write_csv(self.rows, folder / METRICS)

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Draw the curves of a run that was stopped."""
        with suppress(OSError):  # the exception may be a full disk
            self._draw(trainer)

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Draw the curves of a run that has ended, be it in the middle of an epoch."""
        if stage == "fit":
            self._draw(trainer)

    def _draw(self, trainer: Trainer) -> None:
        if self.rows and (folder := run_folder(trainer)):
            title = "/".join(folder.parts[-2:])
            plot_curves(self.rows, folder / CURVES, title=title, monitor=monitored(trainer))


def monitored(trainer: Trainer) -> str:
    """The metric that chooses the best epoch of a run."""
    chooses = trainer.checkpoint_callback
    return (chooses.monitor if isinstance(chooses, ModelCheckpoint) else None) or "val/acc"


def best_epoch(trainer: Trainer) -> Mapping[str, float] | None:
    """The row of the best epoch of a run so far; None if it has no EpochLog, or was not validated."""
    logs = [found for found in trainer.callbacks if isinstance(found, EpochLog)]  # type: ignore[attr-defined]
    return best_row(logs[0].rows, monitored(trainer)) if logs else None


def _writes_table(logger: Logger, folder: Path) -> bool:
    """Whether a logger writes metrics.csv there itself."""
    return isinstance(logger, CSVLogger) and Path(logger.log_dir) == folder


def learning_rate(trainer: Trainer) -> float | None:
    """Return the learning rate of the first parameter group, or None without an optimizer."""
    groups = trainer.optimizers[0].param_groups if trainer.optimizers else []
    return float(groups[0]["lr"]) if groups else None


def print_line(trainer: Trainer, line: str) -> None:
    """Print on rank 0, above the progress bar if there is one."""
    bar = trainer.progress_bar_callback
    if isinstance(bar, TQDMProgressBar) and bar.is_enabled:
        bar.print(line)
    elif trainer.is_global_zero:
        print(line, flush=True)


def _logged(trainer: Trainer, keys: Sequence[str]) -> Row:
    metrics = trainer.callback_metrics
    return {key: metrics[key].item() for key in keys if key in metrics}


def _line(row: Row, max_epochs: int | None) -> str:
    of = f"/{max_epochs}" if max_epochs and max_epochs > 0 else ""
    names = {"loss": "train/loss", "acc": "train/acc", "val_loss": "val/loss", "val_acc": "val/acc", "val_f1": _F1}
    numbers = "".join(f"  {name} {row[key]:.4f}" for name, key in names.items() if key in row)
    return f"epoch {row['epoch']}{of}{numbers}  {row['time/epoch']:.1f} s"


def _write_csv(rows: Sequence[Row], path: Path) -> None:
    with atomic_write(path) as beside, beside.open("w", newline="") as file:
        f1 = [_F1] if any(_F1 in row for row in rows) else []
        writer = csv.DictWriter(file, [*_COLUMNS[:6], *f1, *_COLUMNS[6:]])
        writer.writeheader()
        writer.writerows(rows)
