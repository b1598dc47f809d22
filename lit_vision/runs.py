"""The files of a run: config.yaml, metrics.csv, checkpoints/ and more, and where the folder of a run is.

That is lightning_logs/NAME/version_N, or the folder of the user's own logger. Runs outside lightning_logs are listed in
lightning_logs/NAME/elsewhere.txt, so that best and last find them too.
"""

import glob
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from lit_vision.errors import UserError
from lit_vision.utils.log import log_info
from lit_vision.utils.torch_file import find_damage

LOGS = "lightning_logs"
CONFIG = "config.yaml"
CHECKPOINTS = "checkpoints"
BEST = "best.ckpt"
LAST = "last.ckpt"
PREVIOUS = "previous.ckpt"
"""The last.ckpt before the one that there is."""

METRICS = "metrics.csv"
CURVES = "curves.png"
REPORT = "report"
REPORT_VAL = "report_val"
"""The report of validate, as REPORT is that of test."""

REPORT_TEXT = "report.md"
PREDICTIONS = "predictions.csv"
LR_FIND = "lr_find.png"
ELSEWHERE = "elsewhere.txt"
PROVENANCE = "provenance.yaml"


def best_row(rows: Sequence[Mapping[str, float]], monitor: str) -> Mapping[str, float] | None:
    """The row of metrics of the best epoch, the first of several; None if no epoch was validated.

    Args:
        rows: one row for each epoch.
        monitor: the metric that tells: the lowest is the best if its name ends in loss, otherwise the highest.
    """
    sign = -1 if monitor.endswith("loss") else 1
    validated = [row for row in rows if math.isfinite(row.get(monitor, math.nan))]
    return max(validated, key=lambda row: sign * row[monitor], default=None)


def logs_folder(default_root_dir: str | Path | None) -> Path:
    """The folder of all runs below the Trainer's ``default_root_dir``; by default, below the working folder."""
    return Path(default_root_dir or ".").expanduser() / LOGS


def find_checkpoint(which: str, logs: Path, name: str | None = None) -> Path:
    """Find the file that ``--ckpt_path`` means.

    Args:
        which: the path of a checkpoint, or best or last for that of the newest run. If last.ckpt is damaged, last means
            the one before it.
        logs: the folder of all runs.
        name: the name of the runs to look in; None for all runs.

    Raises:
        UserError: the checkpoint does not exist.
    """
    if which not in ("best", "last"):
        if not Path(which).is_file():
            raise UserError(f"there is no checkpoint {which}: set --ckpt_path to a file, best or last")
        return Path(which)
    newest = max(_checkpoints(logs, name), key=_time, default=None)
    if newest is None:
        runs = f"{logs}/{name}" if name else logs
        raise UserError(f"no run in {runs} has a checkpoint: train first, or set --ckpt_path to a file")
    checkpoint, previous = newest.with_name(f"{which}.ckpt"), newest.with_name(PREVIOUS)
    if which == "last" and (fault := _fault(checkpoint)) and not _fault(previous):
        log_info(f"{checkpoint} {fault}: using {previous}, the one before it")
        return previous
    if not checkpoint.is_file():
        raise UserError(f"there is no {checkpoint}: use --ckpt_path {'best' if which == 'last' else 'last'}")
    return checkpoint


def _fault(checkpoint: Path) -> str | None:
    """Say why a checkpoint cannot be used; None if it can."""
    if not checkpoint.is_file():
        return "is missing"
    damage = find_damage(checkpoint)
    return damage and f"is damaged ({damage})"


def _checkpoints(logs: Path, name: str | None) -> Iterator[Path]:
    """A checkpoint of each run of a name: its last.ckpt, if it has one."""
    for folder in run_folders(logs, name):
        found = (folder / CHECKPOINTS / file for file in (LAST, PREVIOUS, BEST))
        yield from islice(filter(Path.is_file, found), 1)


def run_folders(logs: Path, name: str | None = None) -> list[Path]:
    """The folders of all runs of a name, in no particular order.

    Args:
        logs: the folder of all runs.
        name: the name of the runs; None for all names.
    """
    pattern = glob.escape(name) if name else "*"
    folders = [*logs.glob(f"{pattern}/version_*")]
    for index in logs.glob(f"{pattern}/{ELSEWHERE}"):
        lines = index.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        folders += [logs.parent / line for line in lines]
    return folders


def _time(path: Path) -> tuple[float, str]:
    return path.stat().st_mtime, str(path)


def new_run_folder(runs: Path) -> Path:
    """Make the folder of a new run, with the next number; commands that start together get one each.

    Args:
        runs: the folder of all runs of one name.
    """
    runs.mkdir(parents=True, exist_ok=True)
    taken = [path.name.removeprefix("version_") for path in runs.glob("version_*")]
    number = max((int(digits) for digits in taken if digits.isdecimal()), default=-1) + 1
    while True:
        try:
            (runs / f"version_{number}").mkdir()
        except FileExistsError:
            number += 1
        else:
            return runs / f"version_{number}"


def note_elsewhere(folder: Path, name: str) -> None:
    """List a run outside lightning_logs there, for :func:`find_checkpoint`.

    Args:
        folder: the run's folder.
        name: the run's name.

    Raises:
        OSError: lightning_logs cannot be written to.
    """
    logs = logs_folder(None).absolute()
    folder = folder.absolute()
    if folder.parent.parent == logs:
        return
    line = str(folder.relative_to(logs.parent) if folder.is_relative_to(logs.parent) else folder)
    index = logs / name / ELSEWHERE
    listed = index.read_text(encoding="utf-8", errors="surrogateescape") if index.is_file() else ""
    if line not in listed.splitlines():
        index.parent.mkdir(parents=True, exist_ok=True)
        with index.open("a", encoding="utf-8", errors="surrogateescape") as file:
            file.write(f"{line}\n")


def run_of(checkpoint: Path) -> Path | None:
    """The folder of the run that a checkpoint belongs to; None if the checkpoint was moved out of its run.

    A checkpoint may be deeper in ``checkpoints``: a metric in its name, such as val/acc, makes a folder.
    """
    for folder in checkpoint.absolute().parents:
        run = folder.parent
        if folder.name == CHECKPOINTS and (run / CONFIG).is_file():
            return run.relative_to(Path.cwd()) if run.is_relative_to(Path.cwd()) else run
    return None
