"""The command line before it is parsed: which configs it means."""

import argparse
from importlib.resources import files
from pathlib import Path

import yaml

from lit_vision.errors import UserError
from lit_vision.runs import LOGS, find_checkpoint, run_of

SUBCOMMANDS = ("fit", "validate", "test")


def complete_args(args: list[str]) -> tuple[list[str], str]:
    """Put the configs first, as paths, so that what else the command line says wins over them.

    Without ``--config`` it is the one beside the checkpoint, or shapes.yaml for a fit from the start.

    Args:
        args: the command line without the program's name.

    Returns:
        The arguments, and the name that the last config gives to the run.

    Raises:
        UserError: a config or checkpoint that is not there.
    """
    if not args or args[0] not in SUBCOMMANDS or {"-h", "--help"} & set(args):
        return args, "run"
    subcommand, *options = args
    named, options = _pick(options, "-c", "--config")
    checkpoint = _pick(options, "--ckpt_path")[0]
    configs = [find_config(name) for name in named]
    if not configs and checkpoint:
        folder = _pick(options, "--trainer.default_root_dir")[0] or ["."]
        name = _pick(options, "--name")[0]
        path = find_checkpoint(checkpoint[-1], Path(folder[-1]) / LOGS, name[-1] if name else None)
        run = run_of(path)
        if run is None:
            raise UserError(f"there is no config.yaml of a run beside {path}: name one with --config")
        configs = [run / "config.yaml"]
    elif not configs and subcommand == "fit":
        configs = [find_config("shapes.yaml")]
    elif not configs:
        raise UserError(f"{subcommand} needs trained weights: give --ckpt_path best, last or a file")
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


def find_config(name: str) -> Path:
    """The file of that name if it exists, else the config of that name that comes with the package.

    Raises:
        UserError: neither is there; lists those that are.
    """
    if Path(name).is_file():
        try:
            yaml.safe_load(Path(name).read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f"{name} is no YAML ({error}): correct it") from error
        return Path(name)
    shipped = Path(str(files("lit_vision") / "configs"))
    for candidate in (shipped / name, shipped / f"{name}.yaml"):
        if candidate.is_file() and candidate.parent == shipped:
            return candidate
    known = ", ".join(sorted(path.name for path in shipped.glob("*.yaml")))
    raise UserError(f"there is no config {name}: give --config a file, or one of {known}")
