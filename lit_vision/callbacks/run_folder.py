"""The folder that holds all files of a run, whatever its logger."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from typing_extensions import override

from lit_vision.runs import CHECKPOINTS, new_run_folder, note_elsewhere
from lit_vision.utils.log import is_first_process, log_info


class RunFolder(Callback):
    """Decides where the files of a run are, and puts all checkpoints there.

    The first of the user's loggers that has a folder to itself provides it; otherwise it is a new folder in ``runs``.
    This is decided, and the folder made, when :attr:`path` is first read. All ranks use the folder of rank 0. A
    ModelCheckpoint with a ``dirpath`` of its own keeps it.

    Args:
        runs: the folder of all runs of this name.
        resumed: the folder of the run that goes on; None for a new run.
        loggers: the user's own loggers.
    """

    def __init__(self, runs: Path, resumed: Path | None = None, loggers: Sequence[Logger] = ()) -> None:
        self.runs = runs
        self.loggers = list(loggers)
        self._path = resumed
        self._noted = False

    @property
    def path(self) -> Path:
        """The folder of the run."""
        if self._path is None:
            if not is_first_process():
                return self.runs  # until the first says which
            folders = [Path(logger.log_dir) for logger in self.loggers if logger.log_dir]
            self._path = next(filter(_is_free, folders), None) or new_run_folder(self.runs)
            self._path.mkdir(parents=True, exist_ok=True)
        return self._path

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._path = trainer.strategy.broadcast(self.path)
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                callback.dirpath = str(self.path / CHECKPOINTS)

    @override
    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """List a run outside lightning_logs there."""
        if self._noted or not trainer.is_global_zero:
            return
        self._noted = True
        try:
            note_elsewhere(self.path, self.runs.name)
        except OSError as error:
            log_info(f"--ckpt_path best and last will not find {self.path} ({error.strerror}): name its files")


def _is_free(folder: Path) -> bool:
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


def run_folder(trainer: Trainer) -> Path | None:
    """The folder of the trainer's run; None on all ranks but the first, or if there is none.

    Without a :class:`RunFolder`, it is the folder of the trainer's first logger, if that logger writes files.
    """
    if not trainer.is_global_zero:
        return None
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # declared nowhere
    for callback in callbacks:
        if isinstance(callback, RunFolder):
            return callback.path
    folder = trainer.loggers[0].log_dir if trainer.loggers else None
    return Path(folder) if folder else None
