import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import TensorBoardLogger
from typing_extensions import override

from lit_vision.callbacks import BestAndLast, ConfigFile, Pictures, TensorBoardSummary
from lit_vision.callbacks.epoch_log import best_epoch
from lit_vision.callbacks.run_folder import run_folder
from lit_vision.commands import COMMANDS
from lit_vision.data.loader import BatchLoader
from lit_vision.data.splits import origin_of
from lit_vision.errors import TrainingInterrupted, UserError
from lit_vision.insight.intervals import with_interval
from lit_vision.parsing.help import wants_help
from lit_vision.parsing.vision_cli import VisionCLI
from lit_vision.runs import CHECKPOINTS, LAST, PREVIOUS, run_of
from lit_vision.trainer.checks import check_run, reason_of_end
from lit_vision.trainer.errors import explain_compile_errors, explain_full_disks
from lit_vision.trainer.factory import as_list, make_trainer
from lit_vision.trainer.loggers import RunLogger, continue_tables, continue_versions
from lit_vision.utils.files import ensure_writable, keep_as_it_was, only_user
from lit_vision.utils.lightning_compat import kill_other_processes, launched_by_lightning
from lit_vision.utils.log import log_info

_COMPARED = (
    "augment",
    "balance",
    "batch_size",
    "crop_epochs",
    "crop_from",
    "crop_size",
    "global_batch_size",
    "val_size",
)  # options of the data in HParams


class FitCLI(VisionCLI):
    """The run of ``lit-vision fit``."""

    command = "fit"
    default_config = "shapes.yaml"
    one_of_many: ClassVar[bool] = False
    """Whether the run is one of several alike: it has no table of layers, graph or pictures, and says nothing of what
    to do next."""

    @override
    def before_instantiate_classes(self) -> None:
        super().before_instantiate_classes()
        self.saved_config.ckpt_path = None  # config.yaml starts a new run when it is used again
        run = run_of(self.checkpoint) if self.checkpoint else None
        self.resumed: Path | None = None
        if run and self.checkpoint and self.checkpoint.name in (LAST, PREVIOUS) and self.same_run(run):
            self.resumed = run
            continue_versions(self.config.trainer.logger, run)

    @override
    def make_trainer(self, options: dict[str, Any]) -> Trainer:
        config = self.dump(self.saved_config)
        callbacks: list[Callback] = [TensorBoardSummary(config, self._hparams(), graph=not self.one_of_many)]
        own = self.config_init
        pictures = Pictures(every_n_validations=0) if self.one_of_many else own.pictures
        if self.one_of_many and options["enable_model_summary"] is None:
            options["enable_model_summary"] = False
        options["callbacks"] = [*as_list(options["callbacks"]), *callbacks]
        trainer = make_trainer(
            self.config.name, checkpoint=own.checkpoint, pictures=pictures, resumed=self.resumed, **options
        )
        if not options["fast_dev_run"]:
            found: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # declared nowhere
            first = next((place for place, one in enumerate(found) if isinstance(one, Checkpoint)), len(found))
            found.insert(first, ConfigFile(config))  # after those that may refuse a checkpoint
        return trainer

    def _hparams(self) -> dict[str, Any]:
        """The options that TensorBoard's HParams compares."""
        config, hparams = self.saved_config, dict(self.model.hparams)
        for name in ("class_names", "mean", "std"):  # long, and rarely changed
            hparams.pop(name, None)
        shared = {name: hparams.pop(name) for name in ("lr", "momentum", "weight_decay") if name in hparams}
        return {
            "data": type(self.datamodule).__name__,
            "epochs": config.trainer.max_epochs,
            "model": type(self.model).__name__,
            "seed": config.seed_everything,
            **{name: config.data.init_args.get(name) for name in _COMPARED},
            **shared,
            **{f"model.{name}": value for name, value in hparams.items()},
        }


def fit(words: list[str]) -> None:
    """Train a network, then print the result and the commands to run next.

    Args:
        words: the command line after ``fit``.
    """
    if not wants_help("fit", COMMANDS["fit"].summary, words):
        train(FitCLI(words))


def train(run: FitCLI) -> None:
    """Train the network of a run, then print the result and the commands to run next."""
    trainer, start = run.trainer, time.perf_counter()
    check_run(trainer, run.model, run.trained, run.checkpoint)
    if trainer.is_global_zero and isinstance(trainer.logger, RunLogger):
        ensure_writable(run.logs, "--trainer.default_root_dir")
    folder = run_folder(trainer)
    log_info(f"{type(run.model).__name__} on {type(run.datamodule).__name__}{f', {folder}' if folder else ''}")
    if trainer.world_size > 1:
        images = run.datamodule.global_batch_size or run.datamodule.batch_size * trainer.world_size
        log_info(f"{trainer.world_size} processes, a global batch of {images} images")
    try:
        with explain_compile_errors(), _writing_to(folder, run):
            trainer.fit(run.model, run.datamodule, ckpt_path=run.checkpoint, weights_only=True)
    except TrainingInterrupted:
        if folder:
            last = shlex.quote(str(folder / CHECKPOINTS / LAST))
            resume = "the same command" if run.one_of_many else f"lit-vision fit --ckpt_path {last}"
            log_info(f"\nstopped; resume with  {resume}")
        if not trainer.is_global_zero and launched_by_lightning(trainer):
            return  # Lightning would take any exit code but 0 for a failure, and kill the first process
        raise
    except UserError:
        kill_other_processes(trainer)
        raise
    if trainer.is_global_zero:
        _print_summary(run, time.perf_counter() - start)


def _best_accuracy(trainer: Trainer) -> str | None:
    """The accuracy of the best epoch with its interval; None if it is not known for all validation images."""
    row, loader = best_epoch(trainer), trainer.val_dataloaders
    if row is None or "val/acc" not in row or not isinstance(loader, BatchLoader):
        return None
    whole = sum(trainer.num_val_batches) >= len(loader)
    return f"val/acc {with_interval(row['val/acc'], len(loader.labels))}" if whole else None


@contextmanager
def _writing_to(folder: Path | None, run: FitCLI) -> Iterator[None]:
    """Let a block write the files of a run, alone, and undo that if the run does not come as far as a checkpoint."""
    if folder is None:
        yield
        return
    begun = _has_begun(run.trainer)
    with only_user(folder), explain_full_disks(folder), keep_as_it_was(folder, unless=begun):
        if run.resumed is not None and run.trained is not None:
            continue_tables(run.trainer.loggers, folder, run.trained["global_step"])
        yield


def _has_begun(trainer: Trainer) -> Callable[[], bool]:
    """Make a function that tells whether the run has anything to go on from."""
    config = next((found for found in trainer.callbacks if isinstance(found, ConfigFile)), None)  # type: ignore[attr-defined]
    return lambda: config is None or config.written


def _print_summary(run: FitCLI, seconds: float) -> None:
    trainer, data = run.trainer, run.datamodule
    if reason := reason_of_end(trainer):
        print(f"\nended {reason}")
    checkpoint = next((found for found in trainer.checkpoint_callbacks if isinstance(found, BestAndLast)), None)
    if checkpoint is None or not checkpoint.last_model_path:
        return
    path = checkpoint.best_model_path or checkpoint.last_model_path
    score = checkpoint.best_model_score
    print(f"\nbest   {'not validated' if score is None else f'{checkpoint.monitor} {score:.4f}'}: {path}")
    if score is not None and (accuracy := _best_accuracy(trainer)):
        print(f"       {accuracy}")
    tests = data.evaluation_split("test")
    if checkpoint.best_model_path and tests is not None and tests == origin_of(data, "val", data.hold_out):
        print("       test uses the same images, which chose this epoch: expect a little less on others")
    print(f"time   {seconds:.1f} s")
    if run.one_of_many:
        return
    print(f"next   lit-vision {'validate' if tests is None else 'test'} --ckpt_path {shlex.quote(path)}")
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            print(f"       tensorboard --logdir {shlex.quote(str(logger.save_dir))}")
