"""The command line before it is parsed: which configs it means."""

import argparse
from importlib.resources import files
from pathlib import Path

import yaml

from lit_vision.errors import UserError
from lit_vision.runs import LOGS, find_checkpoint, run_of

TRAINING, EVALUATING = ("fit", "lr-find"), ("validate", "test")
SUBCOMMANDS = (*TRAINING, *EVALUATING)
FROM_DATA = ("class_names", "image_size", "mean", "std", "resize")
"""Options of the model that are the data's to say."""


def complete_args(args: list[str]) -> tuple[list[str], str]:
    """Put the configs first, as paths, so that what else the command line says wins over them.

    Without ``--config`` it is the one beside the checkpoint, or shapes.yaml for a fit that names no data and no model.

    Args:
        args: the command line without the program's name.

    Returns:
        The arguments, and the name that the last config gives to the run.

    Raises:
        UserError: a config or checkpoint that is not there; an option of the model that the data decides.
    """
    if not args or args[0] not in SUBCOMMANDS or {"-h", "--help"} & set(args):
        return args, "run"
    subcommand, *options = args
    given = {option.partition("=")[0] for option in options}
    for option in FROM_DATA:
        if f"--model.{option}" in given:
            raise UserError(f"--model.{option} is what the data says: change the options of --data instead")
    named, options = _pick(options, "-c", "--config")
    configs = [find_config(name) for name in named]
    names = _pick(options, "--name")[0]
    if "--ckpt_path" in given and (names or not configs):
        checkpoints, options = _pick(options, "--ckpt_path")
        folder = _pick(options, "--trainer.default_root_dir")[0] or ["."]
        checkpoint = find_checkpoint(checkpoints[-1], Path(folder[-1]) / LOGS, names[-1] if names else None)
        options += ["--ckpt_path", str(checkpoint)]
        if not configs:
            run = run_of(checkpoint)
            if run is None:
                raise UserError(f"there is no config.yaml of a run beside {checkpoint}: name one with --config")
            configs = [run / "config.yaml"]
    elif not configs and subcommand in TRAINING and not {"--data", "--model"} & given:
        configs = [find_config("shapes.yaml")]
    elif not configs:
        raise UserError(
            f"{subcommand} needs a config or a checkpoint: give --config one of {', '.join(shipped_configs())} or a "
            "file, or --ckpt_path best, last or a file"
        )
    first = [word for config in configs for word in ("--config", str(config))]
    return [subcommand, *first, *options], configs[-1].stem


def _pick(options: list[str], *flags: str) -> tuple[list[str], list[str]]:
    """The values of one option, and the command line without it."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument(*flags, dest="values", action="append", default=[])
    try:
        known, rest = parser.parse_known_args(options)
    except argparse.ArgumentError as error:
        raise UserError(f"{error}: give it one") from error
    return known.values, rest


_SHIPPED = Path(str(files("lit_vision") / "configs"))


def shipped_configs() -> list[str]:
    """The names of the configs that come with the package."""
    return sorted(path.name for path in _SHIPPED.glob("*.yaml"))


def find_config(name: str) -> Path:
    """The file of that name if it exists, else the config of that name that comes with the package.

    Raises:
        UserError: neither is there, or the file is no config.
    """
    if Path(name).is_file():
        try:
            content = yaml.safe_load(Path(name).read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f"{name} is no YAML ({error}): correct it") from error
        if not isinstance(content, dict):
            raise UserError(f"{name} is no config: it must hold options such as trainer, model and data")
        return Path(name)
    for shipped in shipped_configs():
        if name in (shipped, Path(shipped).stem):
            return _SHIPPED / shipped
    raise UserError(f"there is no config {name}: give --config a file, or one of {', '.join(shipped_configs())}")
