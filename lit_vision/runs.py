"""The files of a run, in lightning_logs/NAME/version_N: config.yaml, metrics.csv, checkpoints/ and more."""

import glob
from pathlib import Path
from typing import TYPE_CHECKING

from lit_vision.errors import UserError

if TYPE_CHECKING:
    from lightning.pytorch import Trainer  # its import takes seconds

LOGS = "lightning_logs"
CONFIG = "config.yaml"
CHECKPOINTS = "checkpoints"
LAST = "last.ckpt"
METRICS = "metrics.csv"
CURVES = "curves.png"
REPORT = "report"
LR_FIND = "lr_find.png"


def logs_folder(default_root_dir: str | Path | None) -> Path:
    """The folder of all runs below the Trainer's ``default_root_dir``; by default, below the working folder."""
    return Path(default_root_dir or ".") / LOGS


def find_checkpoint(which: str, logs: Path, name: str | None = None) -> Path:
    """Find the file that ``--ckpt_path`` means.

    Args:
        which: the path of a checkpoint, or best or last for that of the newest run.
        logs: the folder of all runs.
        name: the name of the runs to look in; None for all runs.

    Raises:
        UserError: the checkpoint does not exist.
    """
    if which not in ("best", "last"):
        if not Path(which).is_file():
            raise UserError(f"there is no checkpoint {which}: set --ckpt_path to a file, best or last")
        return Path(which)
    pattern = glob.escape(name) if name else "*"
    newest = max(logs.glob(f"{pattern}/version_*/{CHECKPOINTS}/{LAST}"), key=_time, default=None)
    if newest is None:
        runs = f"{logs}/{name}" if name else logs
        raise UserError(f"no run in {runs} has a checkpoint: train first, or set --ckpt_path to a file")
    checkpoint = newest.with_name(f"{which}.ckpt")
    if not checkpoint.is_file():
        raise UserError(f"there is no {checkpoint}: use --ckpt_path last")
    return checkpoint


def _time(path: Path) -> tuple[float, str]:
    return path.stat().st_mtime, str(path)


def run_of(checkpoint: Path) -> Path | None:
    """The folder of the run that a checkpoint belongs to; None if the checkpoint was moved out of its run."""
    folder = checkpoint.absolute().parent
    run = folder.parent
    if folder.name != CHECKPOINTS or not (run / CONFIG).is_file():
        return None
    return run.relative_to(Path.cwd()) if run.is_relative_to(Path.cwd()) else run


def run_folder(trainer: "Trainer") -> Path | None:
    """The folder for the files of the trainer's run; None on all ranks but the first, or if no logger writes files."""
    if trainer.is_global_zero and trainer.loggers and (folder := trainer.loggers[0].log_dir):
        return Path(folder)
    return None
