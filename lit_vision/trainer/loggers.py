"""The project's logger, and the user's own when a run goes on or is tested: they write where the run's files are."""

import csv
import warnings
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import Namespace
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from typing_extensions import override

from lit_vision.callbacks.run_folder import RunFolder
from lit_vision.runs import METRICS
from lit_vision.utils.files import atomic_write
from lit_vision.utils.log import is_first_process


class RunLogger(TensorBoardLogger):
    """The project's TensorBoard logger, which writes to the folder of the run.

    Args:
        folder: says which folder that is.
    """

    def __init__(self, folder: RunFolder) -> None:
        super().__init__(folder.runs.parent, folder.runs.name, default_hp_metric=False)
        self._folder = folder

    @property
    @override
    def version(self) -> str:
        return self._folder.path.name

    @property
    @override
    def log_dir(self) -> str:
        return str(self._folder.path)


def continue_versions(loggers: object, run: Path) -> None:
    """Let those loggers that wrote to the folder of a run write there again, instead of to a new version.

    Args:
        loggers: the value of ``--trainer.logger`` before it is instantiated, which is changed in place.
        run: the run's folder.
    """
    for logger in loggers if isinstance(loggers, list) else [loggers]:
        options = logger.get("init_args") if isinstance(logger, Namespace) else None
        if options is None or "version" not in options or not options.get("save_dir"):
            continue
        root = Path(options.save_dir, options.get("name") or "").expanduser().absolute()
        if run.absolute().is_relative_to(root):
            version, *below = run.absolute().relative_to(root).parts or ("",)
            if tuple(below) == Path(options.get("sub_dir") or "").parts:
                options.version = version


def continue_tables(loggers: Sequence[Logger], run: Path | None, until: int | None = None) -> None:
    """Keep the rows of a CSVLogger that writes to the folder of a run again; it deletes its table when it starts.

    Args:
        loggers: all loggers.
        run: the run's folder; None without one.
        until: the step from which the run goes on; rows after it are dropped. None keeps all rows.
    """
    path = (run or Path()) / METRICS
    for logger in loggers if run is not None and path.is_file() and is_first_process() else []:
        if not isinstance(logger, CSVLogger) or Path(logger.log_dir).absolute() != path.parent.absolute():
            continue
        with path.open(newline="") as file:
            rows = csv.DictReader(file)
            kept = [row for row in rows if until is None or int(row.get("step") or 0) <= until]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it deletes the table
            experiment = logger.experiment
        experiment.metrics_keys = list(rows.fieldnames or [])
        with atomic_write(path) as beside, beside.open("w", newline="") as file:
            table = csv.DictWriter(file, experiment.metrics_keys)
            table.writeheader()
            table.writerows(kept)
