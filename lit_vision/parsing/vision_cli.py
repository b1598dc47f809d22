"""The subcommands that need data and a Trainer, over LightningCLI."""

import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentError
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelSummary, ProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins import CheckpointIO
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from lit_vision.callbacks import (
    BestAndLast,
    EpochBar,
    EpochLog,
    OneThreadForSmallBatches,
    Pictures,
    TensorBoardSummary,
    TerminateOnNaN,
    TestReport,
)
from lit_vision.commands.functions import FUNCTIONS
from lit_vision.commands.lr_find import Finding, TuningTrainer
from lit_vision.data import ImageDataModule
from lit_vision.errors import TrainingInterrupted, UserError
from lit_vision.models import Classifier
from lit_vision.models.checkpoint import read_checkpoint
from lit_vision.models.feature_cache import has_fast_bfloat16
from lit_vision.parsing.arguments import EVALUATING, FROM_DATA, SUBCOMMANDS, complete_args
from lit_vision.parsing.errors import explain, own_error
from lit_vision.runs import LOGS, find_checkpoint, run_of
from lit_vision.trainer.checkpoint_io import AtomicCheckpointIO
from lit_vision.trainer.errors import explain_compile_errors
from lit_vision.trainer.profiler import NoOpProfiler
from lit_vision.utils.files import ensure_writable, explain_full_disks
from lit_vision.utils.log import log_info


class VisionCLI(LightningCLI):
    """LightningCLI with named configs, checkpoints by name, and what every run shows and writes.

    Args:
        args: the command line without the program's name.
    """

    def __init__(self, args: list[str]) -> None:
        self._default_name = "run"
        quiet = {"exit_on_error": False, "allow_abbrev": False}
        super().__init__(
            Classifier,
            ImageDataModule,
            trainer_class=TuningTrainer,
            save_config_callback=None,  # instantiate_trainer adds one, to fit alone
            seed_everything_default=0,
            parser_kwargs={**quiet, **{name: dict(quiet) for name in SUBCOMMANDS}},
            subclass_mode_model=True,
            subclass_mode_data=True,
            args=args,
            auto_configure_optimizers=False,  # the models bring their own; TransferClassifier's covers only fc
            load_from_checkpoint_support=False,  # hyperparameters are the plain values that a model was made with
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The subcommands, each with the arguments of the Trainer's method that are no options."""
        skip = {"model", "datamodule", "dataloaders", "train_dataloaders", "val_dataloaders", "weights_only"}
        return {name: set(skip) for name in SUBCOMMANDS}

    def _add_subcommands(self, parser: LightningArgumentParser, **kwargs: Any) -> None:
        super()._add_subcommands(parser, **kwargs)
        assert parser._subcommands_action is not None
        for name, function_parser in FUNCTIONS.items():  # for --help alone
            function = function_parser()
            parser._subcommands_action.add_subcommand(name, function, help=function.description)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Name of the run, its pictures, and what the model knows from the data."""
        parser.add_lightning_class_args(Pictures, "pictures")
        parser.add_class_arguments(BestAndLast, "checkpoint")
        parser.add_argument("--name", type=str | None, help=_NAME)
        for name in FROM_DATA:
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse what :func:`complete_args` made of the command line."""
        assert isinstance(args, list)
        completed, self._default_name = complete_args(args)
        try:
            self.config = parser.parse_args(completed)
        except ArgumentError as error:
            raise self._explained(error, completed[0] if completed else "") from error

    def _explained(self, error: Exception, subcommand: str) -> UserError:
        parser = self._subcommand_parsers.get(subcommand)
        options = [option for action in parser._actions for option in action.option_strings] if parser else []
        return explain(error, options)

    def _parse_ckpt_path(self) -> None:
        """Leave the config as it is: Lightning would lay the checkpoint's hyperparameters over the command line's."""

    def before_instantiate_classes(self) -> None:
        """Find the checkpoint, and keep the config as it is to be saved."""
        config = self.config[self.subcommand]
        config.name = config.name or self._default_name
        if config.name in (".", "..") or Path(config.name).name != config.name:
            raise UserError(f"{config.name} is no name of a folder: choose another --name")
        self._saved_config = config.clone()
        if self.subcommand == "fit":
            self._saved_config.ckpt_path = None  # to run it again is to start again
        self._logs = Path(config.trainer.default_root_dir or ".") / LOGS
        weights = config.model.init_args.get("weights")
        if config.get("ckpt_path") is not None:
            config.ckpt_path = str(find_checkpoint(str(config.ckpt_path), self._logs))
            read_checkpoint(config.ckpt_path)  # a broken one is refused before anything is made
            log_info(f"checkpoint {config.ckpt_path}")
            if weights is not None:
                config.model.init_args.weights = None  # the checkpoint has better ones
        elif self.subcommand in EVALUATING and not Path(weights or "").is_file():
            raise UserError(f"{self.subcommand} needs trained weights: give --ckpt_path best, last or a file")

    def instantiate_classes(self) -> None:
        """Make data, model and Trainer; a model that does not like what the data says is an error of the parser."""
        try:
            super().instantiate_classes()
        except ValueError as error:
            if own := own_error(error):
                raise own from error
            raise

    def after_instantiate_classes(self) -> None:
        """Never evaluate random weights."""
        config = self.config[self.subcommand]
        if self.subcommand in EVALUATING and config.ckpt_path is None and not self.model.trained:
            file = config.model.init_args.weights
            raise UserError(f"{file} has no head for these {len(self.model.class_names)} classes: give --ckpt_path")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The Trainer with the project's logger and callbacks, where the config has none of its own."""
        assert self.subcommand is not None
        options = self._get(self.config_init, "trainer")
        callbacks: list[Callback] = _listed(options.callbacks)
        if options.enable_progress_bar is None and not any(isinstance(c, ProgressBar) for c in callbacks):
            kwargs["enable_progress_bar"] = sys.stdout.isatty()
            if sys.stdout.isatty():
                callbacks.append(EpochBar())
        if options.profiler is None:
            kwargs["profiler"] = NoOpProfiler()
        if options.precision is None and getattr(self.model, "prefers_bfloat16", False):
            kwargs["precision"] = _fastest_precision(options.accelerator)
        if self.subcommand == "fit":
            if options.enable_model_summary is None:
                callbacks.append(ModelSummary())
            callbacks += [
                TerminateOnNaN(),
                EpochLog(),
                TensorBoardSummary(self._dump(), self._options()),
                OneThreadForSmallBatches(),
            ]
            if options.enable_checkpointing is not False:
                callbacks.append(self._get(self.config_init, "checkpoint"))
            if not options.fast_dev_run and options.logger is not False:
                parser = self._parser(self.subcommand)
                callbacks.append(SaveConfigCallback(parser, self._saved_config, overwrite=True))
            plugins = _listed(options.plugins)
            if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
                kwargs["plugins"] = [AtomicCheckpointIO(), *plugins]
        else:
            kwargs["enable_checkpointing"] = False
        if self.subcommand == "test" and not options.fast_dev_run:
            tested = Path(
                self.config[self.subcommand].ckpt_path or self.config[self.subcommand].model.init_args.weights
            )
            ensure_writable(tested.parent / "report", "--ckpt_path of a copy in it")
            callbacks.append(TestReport(tested.parent / "report", tested.name))
        if self.subcommand == "lr-find":
            kwargs["logger"] = kwargs["enable_model_summary"] = False
            kwargs["max_epochs"] = -1  # as many as its steps need
        elif options.logger is None or options.logger is True:
            kwargs["logger"] = self._logger()
        try:
            return super().instantiate_trainer(callbacks=callbacks, **kwargs)
        except (ValueError, MisconfigurationException) as error:
            raise UserError(f"{error}: change the options of --trainer") from error

    def _logger(self) -> TensorBoardLogger | bool:
        """TensorBoard in a new run's folder, or in that of the run that goes on or is tested; False for none."""
        config = self.config[self.subcommand]
        checkpoint = Path(config.ckpt_path) if config.ckpt_path else None
        run = run_of(checkpoint) if checkpoint else None
        if self.subcommand == "fit" and not (run and checkpoint and self._goes_on(run, checkpoint)):
            return TensorBoardLogger(self._logs, config.name, default_hp_metric=False)
        if run is None or self.subcommand == "validate":  # whose figures are fit's own
            return False
        return TensorBoardLogger(run.parent.parent, run.parent.name, run.name, default_hp_metric=False)

    def _goes_on(self, run: Path, checkpoint: Path) -> bool:
        """Whether this is the same run, which goes on in its folder: its newest state, with its data and model."""
        saved = yaml.safe_load((run / "config.yaml").read_text())
        ours = yaml.safe_load(self._dump())
        return checkpoint.name == "last.ckpt" and all(
            saved.get(key) == ours.get(key) for key in ("name", "data", "model")
        )

    def _options(self) -> dict[str, Any]:
        """What a table of runs compares."""
        assert self.subcommand is not None
        config, hparams = self._saved_config, dict(self.model.hparams)
        for name in ("class_names", "mean", "std"):  # long, and rarely changed
            hparams.pop(name)
        shared = {name: hparams.pop(name) for name in ("lr", "momentum", "weight_decay")}
        data = {name: config.data.init_args.get(name) for name in _OF_DATA}
        return {
            "data": type(self.datamodule).__name__,
            "epochs": config.trainer.max_epochs,
            "model": type(self.model).__name__,
            "seed": config.seed_everything,
            **data,
            **shared,
            **{f"model.{name}": value for name, value in hparams.items()},
        }

    def _dump(self) -> str:
        """The config of this run, complete, as YAML."""
        return self._parser(self.subcommand).dump(self._saved_config, skip_none=False)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        kwargs = super()._prepare_subcommand_kwargs(subcommand)
        if "ckpt_path" not in self.config[subcommand]:
            return kwargs
        return {**kwargs, "ckpt_path": self.config[subcommand].ckpt_path, "weights_only": True}

    def _set_seed(self) -> None:
        try:
            super()._set_seed()
        except ValueError as error:
            raise UserError(f"{error}: change --seed_everything") from error

    def fit(self, **kwargs: Any) -> None:
        """Train, then say what came out and what can be done with it."""
        trainer, start = self.trainer, time.perf_counter()
        if trainer.is_global_zero and isinstance(trainer.logger, TensorBoardLogger):
            ensure_writable(self._logs, "--trainer.default_root_dir")
        folder = Path(trainer.log_dir or "")
        log_info(f"{type(self.model).__name__} on {type(self.datamodule).__name__}, {folder}")
        if trainer.world_size > 1:
            images = self.datamodule.batch_size * trainer.world_size
            log_info(f"{trainer.world_size} processes, a global batch of {images} images")
        new = isinstance(trainer.logger, TensorBoardLogger) and not folder.exists()
        try:
            with explain_compile_errors(), explain_full_disks(folder):
                trainer.fit(**kwargs)
        except TrainingInterrupted:
            log_info(f"\nstopped; go on with  lit-vision fit --ckpt_path {folder / 'checkpoints' / 'last.ckpt'}")
            environment = getattr(trainer.strategy, "cluster_environment", None)
            if not trainer.is_global_zero and isinstance(environment, LightningEnvironment):
                return  # a code other than 0 is a failure to Lightning, which then kills the first process
            raise
        except (UserError, KeyboardInterrupt, SystemExit) as error:
            if isinstance(error, UserError) and trainer.strategy.launcher is not None:
                trainer.strategy.launcher.kill(signal.SIGKILL)  # the other processes, which may wait for this one
            if new and trainer.is_global_zero and not (folder / "checkpoints").exists():
                shutil.rmtree(folder, ignore_errors=True)  # a run that never was leaves nothing behind
            raise
        if trainer.is_global_zero:
            self._print_summary(time.perf_counter() - start)

    def lr_find(self, **kwargs: Any) -> None:
        """Try learning rates, and say which is good."""
        assert isinstance(self.trainer, TuningTrainer)
        name = self.config[self.subcommand].name
        plot = self._logs / name / "lr_find.png"
        ensure_writable(plot.parent, "--trainer.default_root_dir")
        with explain_compile_errors():
            found = Finding.of(self.trainer.lr_find(**kwargs))
        if self.trainer.is_global_zero:
            found.draw(plot)
        if found.suggestion is None:
            raise UserError(f"the loss falls nowhere, see {plot}: give more --num_training, or another --max_lr")
        if self.trainer.is_global_zero:
            print(f"\nsuggestion {found.suggestion:.2g}, see {plot}")
            print(f"next       lit-vision fit with the same options and --model.lr {found.suggestion:.2g}")

    def _print_summary(self, seconds: float) -> None:
        checkpoint = next((found for found in self.trainer.callbacks if isinstance(found, BestAndLast)), None)  # type: ignore[attr-defined]
        if checkpoint is None or not checkpoint.last_model_path:
            return
        path = checkpoint.best_model_path or checkpoint.last_model_path
        best = (
            f"val/acc {checkpoint.best_model_score:.4f}" if checkpoint.best_model_score is not None else "not validated"
        )
        print(f"\nbest   {best}: {path}")
        print(f"time   {seconds:.1f} s")
        print(f"next   lit-vision test --ckpt_path {path}")
        print(f"       tensorboard --logdir {self._logs}")


def _fastest_precision(accelerator: Any) -> str:
    """The Trainer's name for bfloat16 where the device is fast in that, else for float32."""
    found = None if accelerator == "cpu" else torch.accelerator.current_accelerator(check_available=True)
    return "bf16-mixed" if has_fast_bfloat16("cpu" if found is None else found.type) else "32-true"


def _listed(given: Any) -> list[Any]:
    """What an option holds that takes nothing, one or several."""
    return list(given) if isinstance(given, list | tuple) else [given] if given else []


setattr(VisionCLI, "lr-find", VisionCLI.lr_find)  # a subcommand's method has that very name


_OF_DATA = ("augment", "batch_size", "crop_epochs", "crop_size", "val_size")  # options that a table of runs compares
_NAME = f"Folder of the run below {LOGS}, by default the config's name; with --ckpt_path best or last, where to look."
