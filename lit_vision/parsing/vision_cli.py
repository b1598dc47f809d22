"""Turn words and YAML into data, model and Trainer, with LightningCLI."""

import os
import re
import warnings
from abc import abstractmethod
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

import yaml
from jsonargparse import ArgumentError, Namespace
from jsonargparse.typing import NonNegativeInt
from lightning.pytorch import Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from typing_extensions import override

from lit_vision.callbacks import BestAndLast, Pictures
from lit_vision.data import ImageDataModule
from lit_vision.errors import UserError
from lit_vision.models import Classifier
from lit_vision.models.checkpoint import read_checkpoint
from lit_vision.parsing.arguments import CKPT_PATH, FROM_DATA, NAME, SEED, find_configs, words_of_environment
from lit_vision.parsing.errors import explain, explain_trainer_error, own_error
from lit_vision.parsing.inputs import fill_in_input
from lit_vision.runs import CONFIG, find_checkpoint, logs_folder
from lit_vision.trainer.checks import check_processes
from lit_vision.utils.log import log_info
from lit_vision.utils.precision import fastest_precision

_UNKNOWN = "Unable to serialize instance"  # what jsonargparse writes for an object


class VisionCLI(LightningCLI):
    """LightningCLI that parses, instantiates and checks; the command then uses ``trainer``, ``model``, ``datamodule``.

    A command is a subclass that names itself and makes its Trainer.

    Args:
        words: the command line after the command.

    Attributes:
        words: the command line after the command.
        logs: the folder of all runs.
        checkpoint: the file that ``--ckpt_path`` means; None without that option.
        trained: the content of that file.
        saved_config: the options of the run, as they are saved in config.yaml.
    """

    command: ClassVar[str]
    default_config: ClassVar[str | None] = None
    """The config to use if none is given; None for a command that needs one."""

    datamodule: ImageDataModule
    model: Classifier

    def __init__(self, words: list[str]) -> None:
        self.words = words
        all_words = [*words_of_environment(self.command, os.environ), *words]
        arguments = find_configs(self.command, all_words, self.default_config)
        self._default_name = arguments.name
        super().__init__(
            Classifier,
            ImageDataModule,
            save_config_callback=None,  # fit adds one
            seed_everything_default=0,
            parser_kwargs={"prog": f"lit-vision {self.command}", "exit_on_error": False, "allow_abbrev": False},
            subclass_mode_model=True,
            subclass_mode_data=True,
            args=arguments.words,
            run=False,
            auto_configure_optimizers=False,  # the models make their own; TransferClassifier's covers only fc
            load_from_checkpoint_support=False,  # hyperparameters are the plain values of the model's constructor
        )

    @abstractmethod
    def make_trainer(self, options: dict[str, Any]) -> Trainer:
        """Make the Trainer of this command from the options of ``--trainer``."""

    @override
    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--seed_everything", type=bool | NonNegativeInt, default=0, help=SEED)
        parser.add_argument("--name", type=str | None, default=None, help=NAME)
        parser.add_argument("--ckpt_path", type=str | None, default=None, help=CKPT_PATH)

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_class_arguments(Pictures, "pictures")
        parser.add_class_arguments(BestAndLast, "checkpoint")
        for name in FROM_DATA:
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")

    @override
    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        try:
            self.config = parser.parse_args(args)  # type: ignore[arg-type]
        except ArgumentError as error:
            raise explain(error, self.command, parser.get_defaults().keys()) from error

    @override
    def before_instantiate_classes(self) -> None:
        """Find the checkpoint, and keep the config in the form that is saved.

        Lightning's own handling of a checkpoint would let its hyperparameters override the command line.
        """
        config = self.config
        config.name = config.name or self._default_name
        if config.name in (".", "..") or Path(config.name).name != config.name:
            raise UserError(f"{config.name} cannot be the name of a folder: choose another --name")
        self.saved_config = config.clone()
        self.logs = logs_folder(config.trainer.default_root_dir)
        self.checkpoint: Path | None = None
        self.trained: dict[str, Any] | None = None
        if config.ckpt_path is not None:
            self.checkpoint = find_checkpoint(config.ckpt_path, self.logs)
            self.trained = read_checkpoint(self.checkpoint)  # a damaged one is refused before anything else is done
            log_info(f"checkpoint {self.checkpoint}")
            data = config.data.init_args
            if "classes" in data and data.classes is None:
                data.classes = self.trained["hyper_parameters"].get("class_names")
        fill_in_input(config, self.trained)
        if self.trained is not None and "weights" in config.model.init_args:
            config.model.init_args.weights = None  # those of the checkpoint are newer

    @override
    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except ValueError as error:  # in which the parser wraps an error of a constructor
            if own := own_error(error):
                raise own from error
            raise

    @override
    def after_instantiate_classes(self) -> None:
        """Let the data hold out the images that the checkpoint's run holds out."""
        if self.trained is None:
            return
        state = self.trained.get(type(self.datamodule).__qualname__)
        if state is not None:
            try:
                self.datamodule.load_state_dict(state)
            except (TypeError, ValueError, KeyError, AttributeError) as error:
                raise UserError(
                    f"{self.checkpoint} does not say which images were held out, in a way that can be read: use "
                    "another file"
                ) from error
        else:
            log_info("nothing in the checkpoint says whether the network was trained on these images")

    @override
    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        options = {**self.config_init.trainer.as_dict(), **kwargs}
        if isinstance(options["strategy"], str):
            # these start processes from a notebook; a command is started again for each process, as by ddp
            options["strategy"] = re.sub(r"^ddp_(spawn|fork|notebook)", "ddp", options["strategy"])
        if options["precision"] is None and self.model.prefers_bfloat16:
            options["precision"] = fastest_precision(options["accelerator"])
        check_processes(options["devices"], options["num_nodes"], os.environ)
        try:
            return self.make_trainer(options)
        except (ValueError, MisconfigurationException) as error:
            raise explain_trainer_error(error) from error

    def dump(self, config: Namespace) -> str:
        """A config as YAML, with every option."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", f"\\s*{_UNKNOWN}")
            text = self.parser.dump(_without_enums(config.clone()), skip_none=False)
        # the names of functions and devices, which the parser takes for objects, are what the options take
        return re.sub(rf"{_UNKNOWN} (?=[\w.:]+$)", "", text, flags=re.MULTILINE)

    def same_run(self, run: Path) -> bool:
        """Whether this command line asks for the name, data and model of an earlier run."""
        try:
            saved = self.parser.parse_path(run / CONFIG)  # fills in the defaults of options that are newer than the run
        except ArgumentError:
            return False
        theirs, ours = (yaml.safe_load(self.dump(config)) for config in (saved, self.saved_config))
        return all(theirs[key] == ours[key] for key in ("name", "data", "model"))


def _without_enums(value: Any) -> Any:
    """Replace the members of enumerations by their values, in place: Timer has one as a default, and YAML has none."""
    if isinstance(value, Enum):
        return value.value
    items = vars(value) if isinstance(value, Namespace) else value
    if isinstance(items, dict):
        items.update({name: _without_enums(inner) for name, inner in items.items()})
    elif isinstance(items, list):
        items[:] = [_without_enums(inner) for inner in items]
    return value
