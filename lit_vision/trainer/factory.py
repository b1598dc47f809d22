"""Trainers with the project's callbacks, logger and plugins; they accept every argument of Lightning's Trainer."""

import sys
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelSummary, ProgressBar
from lightning.pytorch.plugins import CheckpointIO

from lit_vision.callbacks import (
    BestAndLast,
    Calibrate,
    EpochBar,
    EpochLog,
    LayerTable,
    OneThreadForSmallBatches,
    Patience,
    Pictures,
    Provenance,
    RunFolder,
    TerminateOnNaN,
)
from lit_vision.runs import logs_folder
from lit_vision.trainer.checkpoint_io import AtomicCheckpointIO
from lit_vision.trainer.loggers import RunLogger
from lit_vision.trainer.profiler import NoOpProfiler


def make_trainer(
    name: str = "run",
    *,
    checkpoint: BestAndLast | None = None,
    pictures: Pictures | None = None,
    resumed: Path | None = None,
    **options: Any,
) -> Trainer:
    """Make a Trainer that trains as ``lit-vision fit`` does.

    It writes ``lightning_logs/NAME/version_N`` with best.ckpt, last.ckpt, metrics.csv, curves.png and TensorBoard's
    files, and prints a line for each epoch. If a logger of your own has a folder for each run, all files are there. It
    stops if the loss or a weight is NaN or infinite, and on Ctrl-C and SIGTERM once last.ckpt is written.

    Args:
        name: name of the run, and of its folder in ``default_root_dir/lightning_logs``.
        checkpoint: the callback that writes best.ckpt and last.ckpt; by default, ``BestAndLast()``.
        pictures: the callback that shows pictures in TensorBoard; by default, ``Pictures()``.
        resumed: the folder of a run that goes on, for its files; None for a new folder.
        options: arguments of Lightning's Trainer. Callbacks are added to the project's own; a logger or a checkpoint
            plugin replaces the project's.
    """
    if options.get("barebones"):  # Lightning refuses what costs time
        return Trainer(**{**options, "callbacks": [*as_list(options.get("callbacks")), OneThreadForSmallBatches()]})
    options = _with_defaults(options)
    callbacks = options["callbacks"]
    if not options.get("fast_dev_run"):  # it writes no files
        given = options.get("logger") not in (None, True)
        folder = RunFolder(
            logs_folder(options.get("default_root_dir")) / name, resumed, as_list(options["logger"]) if given else ()
        )
        options["logger"] = options["logger"] if given else RunLogger(folder)
        callbacks.append(folder)
    if options.get("enable_model_summary") is None and not _has(callbacks, ModelSummary):
        callbacks.append(LayerTable())
    callbacks += [TerminateOnNaN(), EpochLog(), OneThreadForSmallBatches(), Provenance(), Calibrate()]
    if options.get("enable_checkpointing") is not False:
        checkpoint = checkpoint or BestAndLast()
        if checkpoint.patience is not None:
            assert checkpoint.monitor is not None
            callbacks.append(Patience(checkpoint.monitor, patience=checkpoint.patience, mode=checkpoint.mode))
        callbacks.append(checkpoint)
    callbacks.append(pictures or Pictures())
    plugins = as_list(options.get("plugins"))
    if not _has(plugins, CheckpointIO):
        options["plugins"] = [AtomicCheckpointIO(), *plugins]
    return Trainer(**options)


def make_evaluation_trainer(**options: Any) -> Trainer:
    """Make a Trainer for validate, test and lr-find, which writes no checkpoints.

    Args:
        options: arguments of Lightning's Trainer. Callbacks that write checkpoints, of a run's config, are left out.
    """
    options = _with_defaults(options)
    options["callbacks"] = [callback for callback in options["callbacks"] if not isinstance(callback, Checkpoint)]
    return Trainer(**{**options, "enable_checkpointing": False})


def as_list(value: Any) -> list[Any]:
    """Turn the value of an option that takes None, one value or several into a list."""
    return list(value) if isinstance(value, list | tuple) else [value] if value else []


def _with_defaults(options: dict[str, Any]) -> dict[str, Any]:
    """Complete options with a list of callbacks, a progress bar on terminals, and a profiler that costs nothing."""
    callbacks: list[Callback] = as_list(options.get("callbacks"))
    options = {**options, "callbacks": callbacks}
    if options.get("enable_progress_bar") is None and not _has(callbacks, ProgressBar):
        options["enable_progress_bar"] = sys.stdout.isatty()
        if sys.stdout.isatty():
            callbacks.append(EpochBar())
    if options.get("profiler") is None:
        options["profiler"] = NoOpProfiler()
    return options


def _has(values: list[Any], kind: type) -> bool:
    return any(isinstance(value, kind) for value in values)
