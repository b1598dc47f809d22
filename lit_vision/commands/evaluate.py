import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser
from typing_extensions import override

from lit_vision.callbacks import RunFolder, TestReport, ValidationReport
from lit_vision.callbacks.report import EvaluationReport
from lit_vision.commands import COMMANDS
from lit_vision.errors import UserError
from lit_vision.models.calibration import check_accept, needed_calibration, read_calibration
from lit_vision.models.weights_file import is_checkpoint
from lit_vision.parsing.arguments import ACCEPT
from lit_vision.parsing.help import wants_help
from lit_vision.parsing.vision_cli import VisionCLI
from lit_vision.runs import REPORT, REPORT_VAL, run_of
from lit_vision.trainer.errors import explain_full_disks
from lit_vision.trainer.factory import as_list, make_evaluation_trainer
from lit_vision.trainer.loggers import RunLogger, continue_tables, continue_versions
from lit_vision.utils.files import ensure_writable, keep_as_it_was, only_user
from lit_vision.utils.log import log_info


class EvaluationCLI(VisionCLI):
    """The run of ``lit-vision validate``, which takes a trained network from a checkpoint or from a file of weights.

    It writes a report beside that file.
    """

    command = "validate"
    report_class: type[EvaluationReport] = ValidationReport
    report_folder = REPORT_VAL
    needs_report = False
    """Whether it is an error if the report cannot be written."""

    accept: float | None = None
    weights: str | None = None
    """The file of weights to evaluate if there is no checkpoint."""

    @override
    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_default_arguments_to_parser(parser)
        parser.add_argument("--verbose", type=bool, default=True, help="Print the results as a table.")

    @override
    def before_instantiate_classes(self) -> None:
        weights = self.config.model.init_args.get("weights")
        if self.config.ckpt_path is None and weights and Path(weights).is_file() and is_checkpoint(weights):
            self.config.ckpt_path = str(weights)  # so that its classes and its input are checked
        super().before_instantiate_classes()
        if self.checkpoint is None:
            self.weights = self.config.model.init_args.get("weights")
            if not Path(self.weights or "").is_file():
                raise UserError(f"{self.command} needs trained weights: set --ckpt_path to best, last or a file")

    @override
    def after_instantiate_classes(self) -> None:
        """Refuse to evaluate a head with random weights."""
        super().after_instantiate_classes()
        if self.checkpoint is None and not self.model.trained:
            classes = len(self.model.class_names)
            missing = f"{self.weights} has no head for these {classes} classes"
            raise UserError(f"{missing}: set --ckpt_path to a checkpoint that was trained on them")
        if self.checkpoint is None:
            names = ", ".join(self.model.class_names)
            log_info(f"{self.weights} does not say which classes it knows: they are taken to be {names}")

    @override
    def make_trainer(self, options: dict[str, Any]) -> Trainer:
        if options["logger"] in (None, True):
            options["logger"] = False  # fit has logged the same figures
        if not options["fast_dev_run"]:
            found = self.checkpoint or Path(self.weights or "")
            command = f"lit-vision {self.command} {shlex.join(self.words)}"
            report = self.report_class(found.parent / self.report_folder, found, command, self.accept)
            try:
                ensure_writable(found.parent, "--ckpt_path FILE (copy the checkpoint there first)")
                options["callbacks"] = [*as_list(options["callbacks"]), report]
            except UserError as error:
                if self.needs_report:
                    raise
                log_info(f"no report: {error}")
        return make_evaluation_trainer(**options)

    @property
    def evaluation_options(self) -> dict[str, Any]:
        """Options of the Trainer's methods validate and test."""
        return {"ckpt_path": self.checkpoint, "verbose": self.config.verbose, "weights_only": True}


class TestCLI(EvaluationCLI):
    """The run of ``lit-vision test``: it logs to the folder of the tested run, and writes a report."""

    __test__ = False  # for pytest: this is not a test case

    command = "test"
    report_class = TestReport
    report_folder = REPORT
    needs_report = True

    @override
    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_default_arguments_to_parser(parser)
        parser.add_argument("--accept", type=float | None, default=None, help=ACCEPT)

    @override
    def before_instantiate_classes(self) -> None:
        super().before_instantiate_classes()
        self.accept = self.config.accept
        if self.accept is not None:
            check_accept(self.accept)
            found = read_calibration(self.trained or {})
            needed_calibration(found, self.checkpoint or self.weights).threshold(self.accept)
        self.tested_run = run_of(self.checkpoint) if self.checkpoint else None
        if self.tested_run is not None:
            continue_versions(self.config.trainer.logger, self.tested_run)

    @override
    def make_trainer(self, options: dict[str, Any]) -> Trainer:
        if self.tested_run is not None and options["logger"] in (None, True):
            options["logger"] = RunLogger(RunFolder(self.tested_run.parent, self.tested_run))
        return super().make_trainer(options)


def validate(words: list[str]) -> None:
    """Measure a trained network on the validation images, and write a report.

    Args:
        words: the command line after ``validate``.
    """
    if not wants_help("validate", COMMANDS["validate"].summary, words):
        run = EvaluationCLI(words)
        with explain_full_disks(Path(), "try again"):
            run.trainer.validate(run.model, run.datamodule, **run.evaluation_options)


def test(words: list[str]) -> None:
    """Measure a trained network on the test images, and write a report.

    Args:
        words: the command line after ``test``.
    """
    if wants_help("test", COMMANDS["test"].summary, words):
        return
    run = TestCLI(words)
    with explain_full_disks(run.tested_run or Path(), "try again"), _undoing(run):
        continue_tables(run.trainer.loggers, run.tested_run)
        run.trainer.test(run.model, run.datamodule, **run.evaluation_options)


@contextmanager
def _undoing(run: TestCLI) -> Iterator[None]:
    """Undo what a block did to the files of the tested run if it fails, unless a fit is writing them."""
    with ExitStack() as stack:
        if run.tested_run and run.trainer.is_global_zero:
            with suppress(UserError):
                stack.enter_context(only_user(run.tested_run))
                stack.enter_context(keep_as_it_was(run.tested_run, unless=lambda: False))
        yield


test.__test__ = False  # type: ignore[attr-defined]  # for pytest: this is not a test case
