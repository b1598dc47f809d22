"""Trainers with the project's callbacks, logger and plugins; they accept every argument of Lightning's Trainer."""

import sys
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelSummary, ProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins import CheckpointIO

from lit_vision.callbacks import (
    BestAndLast,
    EpochBar,
    EpochLog,
    OneThreadForSmallBatches,
    Pictures,
    TerminateOnNaN,
)
from lit_vision.runs import logs_folder
from lit_vision.trainer.checkpoint_io import AtomicCheckpointIO
from lit_vision.trainer.profiler import NoOpProfiler


def make_trainer(
    name: str = "run", *, checkpoint: BestAndLast | None = None, pictures: Pictures | None = None, **options: Any
) -> Trainer:
    """Make a Trainer that trains as ``lit-vision fit`` does.

    It writes ``lightning_logs/NAME/version_N`` with best.ckpt, last.ckpt, metrics.csv, curves.png and TensorBoard's
    files, and prints a line for each epoch. It stops if the loss or a weight is NaN or infinite, and on Ctrl-C and
    SIGTERM once last.ckpt is written.

    Args:
        name: name of the run, and of its folder in ``default_root_dir/lightning_logs``.
        checkpoint: the callback that writes best.ckpt and last.ckpt; by default, ``BestAndLast()``.
        pictures: the callback that shows pictures in TensorBoard; by default, ``Pictures()``.
        options: arguments of Lightning's Trainer. Callbacks are added to the project's own; a logger or a checkpoint
            plugin replaces the project's.
    """
    if options.get("barebones"):  # Lightning refuses what costs time
        return Trainer(**{**options, "callbacks": [*as_list(options.get("callbacks")), OneThreadForSmallBatches()]})
    options = _with_defaults(options)
    callbacks = options["callbacks"]
    if options.get("enable_model_summary") is None and not _has(callbacks, ModelSummary):
        callbacks.append(ModelSummary())
    callbacks += [TerminateOnNaN(), EpochLog(), OneThreadForSmallBatches()]
    if options.get("enable_checkpointing") is not False:
        callbacks.append(checkpoint or BestAndLast())
    callbacks.append(pictures or Pictures())
    if options.get("logger") in (None, True):
        options["logger"] = run_logger(logs_folder(options.get("default_root_dir")) / name)
    plugins = as_list(options.get("plugins"))
    if not _has(plugins, CheckpointIO):
        options["plugins"] = [AtomicCheckpointIO(), *plugins]
    return Trainer(**options)


def make_evaluation_trainer(**options: Any) -> Trainer:
    """Make a Trainer for validate, test and lr-find, which writes no checkpoints.

    Args:
        options: arguments of Lightning's Trainer.
    """
    return Trainer(**{**_with_defaults(options), "enable_checkpointing": False})


def run_logger(runs: Path, version: str | None = None) -> TensorBoardLogger:
    """Make a logger for a run.

    Args:
        runs: the folder that holds all runs of one name.
        version: name of the folder of a run that is resumed or tested; None for a new run.
    """
    return TensorBoardLogger(runs.parent, runs.name, version, default_hp_metric=False)


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
