"""Find the configs and the checkpoint that a command line means, before it is parsed."""

import argparse
import difflib
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import yaml

from lit_vision.errors import UserError
from lit_vision.parsing.config_content import read_config
from lit_vision.runs import CONFIG, find_checkpoint, logs_folder, run_of
from lit_vision.utils.log import log_info
from lit_vision.utils.text import printable

FROM_DATA = ("class_names", "image_size", "mean", "std", "resize", "decoding")
"""Options of the model that are taken from the data."""

CKPT_PATH = "Checkpoint to load: best or last of the newest run, or a file."
NAME = "Name of the run, by default the config's; with --ckpt_path best or last, that of the runs to look in."
ACCEPT = (
    "Share of its answers in which the network is to be right, such as 0.99. It then answers only if its probability "
    "reaches a threshold, which validation images gave."
)
SEED = "Seed of weights, shuffling and augmentation; true draws a random one."


class Arguments(NamedTuple):
    """A command line whose configs have been found.

    Attributes:
        words: the options, with the paths of the configs first, so that all other options override them.
        name: the name that the last config gives to the run.
    """

    words: list[str]
    name: str


_OF_ENVIRONMENT = re.compile(
    r"(CONFIG|NAME|CKPT_PATH|SEED_EVERYTHING|MODEL|DATA|(TRAINER|MODEL|DATA|CHECKPOINT|PICTURES)__\w+)"
)


def words_of_environment(command: str, environ: Mapping[str, str]) -> list[str]:
    """Turn LightningCLI's environment variables into words, for before those of the command line.

    ``PL_FIT__TRAINER__MAX_EPOCHS=3`` is ``--trainer.max_epochs 3`` for fit, and ``PL_TRAINER__MAX_EPOCHS=3`` for all
    commands.

    Args:
        command: name of the command.
        environ: the environment.
    """
    words = []
    for prefix in ("PL_", f"PL_{command.upper().replace('-', '_')}__"):
        for name, value in environ.items():
            if name.startswith(prefix) and (found := _OF_ENVIRONMENT.fullmatch(name.removeprefix(prefix))):
                words += [f"--{found[1].lower().replace('__', '.')}", value]
    return words


def find_configs(command: str, words: list[str], default: str | None = None) -> Arguments:
    """Find the configs that a command line means.

    Without ``--config``, that is config.yaml in the folder of the checkpoint's run, otherwise ``default``. A command
    that has a default needs no config if ``--model`` and ``--data`` are both given.

    Args:
        command: name of the command, for errors.
        words: the command line after the command.
        default: the config for a command line that names no checkpoint, data or model; None for a command that needs
            one.

    Raises:
        UserError: a config or checkpoint is missing, a word is not UTF-8, or the words set an option that is taken from
            the data.
    """
    for word in words:
        if any("\ud800" <= char <= "\udfff" for char in word):  # bytes that Python could not decode
            raise UserError(f"{printable(word)} is not UTF-8, as a config must be: rename it")
    given = {word.partition("=")[0] for word in words}
    for option in FROM_DATA:
        if f"--model.{option}" in given:
            raise UserError(f"--model.{option} is taken from the data: change the options of --data instead")
    named, options = take_option(words, "-c", "--config")
    configs = [find_config(name) for name in named]
    names, _ = take_option(options, "--name")
    if "--ckpt_path" in given and (names or not configs):
        checkpoints, options = take_option(options, "--ckpt_path")
        roots, _ = take_option(options, "--trainer.default_root_dir")
        logs = logs_folder(roots[-1] if roots else None)
        checkpoint = find_checkpoint(checkpoints[-1], logs, names[-1] if names else None)
        options += ["--ckpt_path", str(checkpoint)]
        if not configs:
            run = run_of(checkpoint)
            if run is None:
                raise UserError(f"{checkpoint} is not in the folder of a run: set --config to the {CONFIG} of its run")
            configs = [run / CONFIG]
            if missing := {"model", "data", "trainer"} - read_config(configs[0]).keys():
                raise UserError(
                    f"{configs[0]} is not whole (it has no {min(missing)}): set --config to that of the run's start"
                )
    elif not configs and default is not None and not {"--data", "--model"} & given:
        configs = [find_config(default)]
    elif not configs and (default is None or not {"--data", "--model"} <= given):
        raise UserError(
            f"{command} needs a config or a checkpoint: set --config to one of {', '.join(shipped_configs())} or a "
            "file, or --ckpt_path to best, last or a file"
        )
    if _has_other_lr(configs, options):
        options += ["--model.lr", "null"]
    first = [word for config in configs for word in ("--config", str(config))]
    for option in ("--model", "--data"):  # before the options of the class, wherever the user puts them
        classes, options = take_option(options, option)
        first += [word for name in classes for word in (option, name)]
    return Arguments([*first, *options], configs[-1].stem if configs else "run")


def _has_other_lr(configs: list[Path], options: list[str]) -> bool:
    """Whether the configs have a learning rate, but for another optimizer or other layers than the options ask for.

    The rate of SGD would ruin a network that AdamW trains, and the rate of a new head that of a pretrained backbone.
    """
    if _values(options, "lr"):
        return False
    model: dict[str, Any] = {}
    for config in configs:
        content = read_config(config).get("model")
        model |= content.get("init_args") or {} if isinstance(content, dict) else {}
    for name, default in (("optimizer", "sgd"), ("unfreeze", "head")):
        asked, own = _values(options, name), str(model.get(name, default))
        if asked and asked[-1] != own and model.get("lr") is not None:
            log_info(
                f"lr {model['lr']} of {configs[-1].name} is for {name} {own}: with {asked[-1]}, the default is used "
                "(--model.lr sets another)"
            )
            return True
    return False


def _values(options: list[str], name: str) -> list[str]:
    """The values of an option of the model, in the order of the words."""
    return take_option(options, f"--model.{name}", f"--model.init_args.{name}")[0]


def take_option(words: list[str], *flags: str) -> tuple[list[str], list[str]]:
    """Take one option out of a command line, and return its values and the other words."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument(*flags, dest="values", action="append", default=[])
    try:
        known, rest = parser.parse_known_args(words)
    except argparse.ArgumentError as error:
        raise UserError(f"{error}: give the option a value") from error
    return known.values, rest


_SHIPPED = Path(str(files("lit_vision") / "configs"))


def shipped_configs() -> list[str]:
    """Names of the configs that come with the package."""
    return sorted(path.name for path in _SHIPPED.glob("*.yaml"))


def find_config(name: str) -> Path:
    """Find a config: the file of that name, otherwise the config of that name that comes with the package.

    Raises:
        UserError: neither exists, or the file is not a config.
    """
    if Path(name).is_file():
        read_config(name)
        return Path(name)
    for shipped in shipped_configs():
        if name in (shipped, Path(shipped).stem):
            return _SHIPPED / shipped
    raise UserError(f"there is no config {name}: set --config to a file, or to one of {', '.join(shipped_configs())}")


class _Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are UserErrors."""

    def error(self, message: str) -> NoReturn:
        page = f"see {self.prog} --help"
        if missing := re.search(r"arguments are required: (.+)", message):
            raise UserError(f"{self.prog.split()[-1]} needs {missing[1].replace(', ', ' and ')}: {page}")
        if unknown := re.search(r"unrecognized arguments: (\S+)", message):
            close = difflib.get_close_matches(unknown[1], re.findall(r"--[\w.]+", self.format_help()), n=1)
            meant = f" (did you mean {close[0]}?)" if close else ""
            raise UserError(f"there is no option {unknown[1]}{meant}: {page}")
        raise UserError(f"{message}: {page}")


def bare_parser(command: str, description: str) -> argparse.ArgumentParser:
    """Make a parser without options, whose errors are UserErrors; the command adds its own."""
    return _Parser(prog=f"lit-vision {command}", description=description, allow_abbrev=False)


def simple_parser(command: str, description: str) -> argparse.ArgumentParser:
    """Make the parser of a command that needs a checkpoint but no config; the command adds its own options."""
    parser = bare_parser(command, description)
    parser.add_argument("--ckpt_path", required=True, metavar="CHECKPOINT", help=CKPT_PATH)
    parser.add_argument("--name", help="Name of the runs in which to look for best or last. Default: all runs.")
    parser.add_argument(
        "--model",
        metavar="MODULE.CLASS",
        help="Class of your own network, such as my_net.MyNet, if the checkpoint was moved out of its run.",
    )
    return parser


def true_or_false(word: str) -> bool:
    """Read a word as a bool, as YAML does.

    Raises:
        ValueError: the word means neither true nor false.
    """
    value = yaml.safe_load(word)
    if not isinstance(value, bool):
        raise ValueError(word)
    return value


def true_false_or_number(word: str) -> bool | float:
    """Read a word as a bool or as a number, as YAML does.

    Raises:
        ValueError: the word means none of them.
    """
    value = yaml.safe_load(word)
    return value if isinstance(value, bool) else float(value)
