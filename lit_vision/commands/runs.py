import argparse
import csv
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from lit_vision.errors import UserError
from lit_vision.insight.intervals import accuracy_interval
from lit_vision.insight.predictions import read_predictions
from lit_vision.parsing.arguments import bare_parser
from lit_vision.parsing.config_content import read_config
from lit_vision.runs import CHECKPOINTS, CONFIG, METRICS, PREDICTIONS, REPORT, best_row, logs_folder, run_folders
from lit_vision.utils.text import printable

_COLUMNS = ("run", "began", "network", "data", "epochs", "best epoch", "test accuracy")


def runs_parser() -> argparse.ArgumentParser:
    """The options of ``lit-vision runs``."""
    parser = bare_parser("runs", "List runs with their figures, the newest last.")
    parser.add_argument("--name", help="Name of the runs to list. Default: all runs.")
    parser.add_argument(
        "--trainer.default_root_dir",
        dest="root",
        metavar="DIR",
        help="Folder that has lightning_logs. Default: this one.",
    )
    return parser


def runs(words: list[str]) -> None:
    """List runs with their figures.

    Args:
        words: the command line after ``runs``.

    Raises:
        UserError: there is no run.
    """
    options = runs_parser().parse_args(words)
    logs = logs_folder(options.root)
    found = [folder for folder in run_folders(logs, options.name) if (folder / CONFIG).is_file()]
    if not found:
        where = logs / options.name if options.name else logs
        raise UserError(f"there is no run in {printable(str(where))}: train first, or set --trainer.default_root_dir")
    found.sort(key=lambda folder: ((folder / CONFIG).stat().st_mtime, str(folder)))
    rows = [_COLUMNS, *(_row(folder, logs) for folder in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(folder: Path, logs: Path) -> tuple[str, ...]:
    try:
        config = read_config(folder / CONFIG)
    except UserError:
        config = {}
    metrics = _read_metrics(folder / METRICS)
    name = folder.relative_to(logs) if folder.is_relative_to(logs) else folder
    began = datetime.fromtimestamp((folder / CONFIG).stat().st_mtime).strftime("%Y-%m-%d %H:%M")
    network, data = (_class_name(config.get(part)) for part in ("model", "data"))
    trainer = config.get("trainer")
    asked = trainer.get("max_epochs") if isinstance(trainer, dict) else None
    epochs = f"{metrics[-1].get('epoch', 0):.0f}{f' of {asked}' if asked else ''}" if metrics else "0"
    return printable(str(name)), began, network, data, epochs, _best(metrics, config), _test_accuracy(folder)


def _read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of metrics.csv; a cell without a number is left out."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError, csv.Error):
        return []


def _class_name(section: Any) -> str:
    path = section.get("class_path") if isinstance(section, dict) else None
    return printable(str(path or "?").rpartition(".")[2])


def _best(metrics: list[dict[str, float]], config: Mapping[str, Any]) -> str:
    checkpoint = config.get("checkpoint")
    monitor = (checkpoint.get("monitor") if isinstance(checkpoint, dict) else None) or "val/acc"
    if (best := best_row(metrics, monitor)) is None:
        return "not validated"
    also = f", val/acc {best['val/acc']:.4f}" if monitor != "val/acc" and "val/acc" in best else ""
    return f"{best.get('epoch', 0):.0f}: {monitor} {best[monitor]:.4f}{also}"


def _test_accuracy(folder: Path) -> str:
    if not (folder / CHECKPOINTS / REPORT / PREDICTIONS).is_file():
        return "not tested"
    try:
        predictions = read_predictions(folder / CHECKPOINTS / REPORT)
    except UserError:
        return "damaged report"
    if not predictions:
        return "not tested"
    right = sum(found.is_right for found in predictions.values())
    low, high = accuracy_interval(right, len(predictions))
    return f"{right / len(predictions):.4f} ({low:.3f} to {high:.3f})"
