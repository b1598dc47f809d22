import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill
from typing import Any

from torch import Tensor

from lit_vision.models.calibration import read_calibration
from lit_vision.models.checkpoint import read_checkpoint
from lit_vision.parsing.arguments import bare_parser
from lit_vision.runs import find_checkpoint, logs_folder
from lit_vision.utils.text import printable

_INPUT = ("image_size", "resize", "decoding", "mean", "std")


def show_parser() -> argparse.ArgumentParser:
    """The options of ``lit-vision show``."""
    parser = bare_parser("show", "Show what a checkpoint holds, and what made it.")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="best or last of the newest run, or a file.")
    parser.add_argument("--name", help="Name of the runs in which to look for best or last. Default: all runs.")
    return parser


def show(words: list[str]) -> None:
    """Show what a checkpoint holds, and what made it.

    Args:
        words: the command line after ``show``.

    Raises:
        UserError: the checkpoint does not exist, or is damaged.
    """
    options = show_parser().parse_args(words)
    path = find_checkpoint(options.checkpoint, logs_folder(None), options.name)
    for name, value in _facts(path, read_checkpoint(path)):
        line = f"{name:<12} {printable(str(value))}"
        print(fill(line, get_terminal_size((110, 0)).columns, subsequent_indent=13 * " ", break_on_hyphens=False))


def _facts(path: Path, checkpoint: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    hparams = dict(checkpoint["hyper_parameters"])
    tensors = [tensor for tensor in checkpoint["state_dict"].values() if isinstance(tensor, Tensor)]
    yield "checkpoint", f"{path}, {path.stat().st_size:,} bytes, whole"
    yield "model", f"{checkpoint.get('model_class')}, {sum(map(Tensor.numel, tensors)):,} values"
    names = hparams.pop("class_names", [])
    yield "classes", f"{len(names)}: {', '.join(map(str, names))}"
    yield "input", _joined({name: hparams.pop(name) for name in _INPUT if name in hparams})
    yield "options", _joined(hparams)
    if (calibration := read_calibration(checkpoint)) is not None:
        images = f"{len(calibration.correct):,} validation images"
        yield "calibrated", f"temperature {calibration.temperature:.4f}, {images}"
    if "epoch" in checkpoint and "global_step" in checkpoint:
        yield "trained", f"{checkpoint['global_step']:,} steps, {_epochs(checkpoint)}"
    for key, state in checkpoint.get("callbacks", {}).items():
        if key.startswith("BestAndLast") and state.get("best_model_score") is not None and "monitor" in state:
            yield "best", f"{state['monitor']} {float(state['best_model_score']):.4f}"
        if key.startswith("EpochLog") and state.get("rows"):
            yield "figures", _joined({name: f"{value:.6g}" for name, value in state["rows"][-1].items()})
    for entry in checkpoint.get("provenance", []):
        data = entry.get("data", {})
        yield "made by", _joined({name: value for name, value in entry.items() if name != "data"})
        yield "data", _joined(data)
    if not checkpoint.get("provenance"):
        yield "made by", "an earlier version of lit-vision, which did not record it"


def _epochs(checkpoint: Mapping[str, Any]) -> str:
    progress = checkpoint.get("loops", {}).get("fit_loop", {}).get("epoch_progress", {}).get("current", {})
    done = progress.get("processed", checkpoint["epoch"])
    unfinished = ", and a part of the next" if progress.get("started", done) > done else ""
    return f"{done} {'epoch' if done == 1 else 'epochs'}{unfinished}"


def _joined(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
