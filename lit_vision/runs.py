"""Where runs stand on disk: lightning_logs/NAME/version_N/, with config.yaml and checkpoints/ in it."""

import glob
from pathlib import Path
from typing import TYPE_CHECKING

from lit_vision.errors import UserError

if TYPE_CHECKING:
    from lightning.pytorch import Trainer  # which takes seconds to import

LOGS = "lightning_logs"


def find_checkpoint(which: str, logs: Path, name: str | None = None) -> Path:
    """The file that ``--ckpt_path`` means.

    Args:
        which: a path, or best or last of the newest run.
        logs: the folder of all runs.
        name: consider only runs of that name.

    Raises:
        UserError: there is no such file.
    """
    if which not in ("best", "last"):
        if not Path(which).is_file():
            raise UserError(f"there is no checkpoint {which}: give --ckpt_path a file, best or last")
        return Path(which)
    pattern = glob.escape(name) if name else "*"
    newest = max(logs.glob(f"{pattern}/version_*/checkpoints/last.ckpt"), key=_time, default=None)
    if newest is None:
        runs = f"{logs}/{name}" if name else logs
        raise UserError(f"there is no finished epoch of any run in {runs}: train first, or give --ckpt_path a file")
    checkpoint = newest.with_name(f"{which}.ckpt")
    if not checkpoint.is_file():
        raise UserError(f"there is no {checkpoint}: use --ckpt_path last")
    return checkpoint


def _time(path: Path) -> tuple[float, str]:
    return path.stat().st_mtime, str(path)


def run_of(checkpoint: Path) -> Path | None:
    """The run's folder that a checkpoint stands in, None if it was moved out of one."""
    folder = checkpoint.absolute().parent
    run = folder.parent
    if folder.name != "checkpoints" or not (run / "config.yaml").is_file():
        return None
    return run.relative_to(Path.cwd()) if run.is_relative_to(Path.cwd()) else run


def run_folder(trainer: "Trainer") -> Path | None:
    """The folder for the files of the trainer's run; None on all ranks but the first, and without a logger of files."""
    if trainer.is_global_zero and trainer.loggers and (folder := trainer.loggers[0].log_dir):
        return Path(folder)
    return None
