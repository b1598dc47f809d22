"""The page that ``--help`` prints: options of this project first, in groups, then the Trainer's.

jsonargparse's own page lists the Trainer's options with their whole documentation, and for a model or data says only
that a class can be given.
"""

import inspect
import re
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

from docstring_parser import parse
from lightning.pytorch import Trainer

from lit_vision.callbacks import BestAndLast, Pictures
from lit_vision.data import ImageDataModule
from lit_vision.models import Classifier
from lit_vision.models.checkpoint import subclasses
from lit_vision.parsing.arguments import ACCEPT, CKPT_PATH, FROM_DATA, NAME, SEED, shipped_configs

_WIDTH, _INDENT = 100, 30  # characters


class Option(NamedTuple):
    """An option on the page.

    Attributes:
        name: the option with its dashes.
        text: the help text.
        default: its default value; ``inspect.Parameter.empty`` to show none.
    """

    name: str
    text: str
    default: Any = inspect.Parameter.empty


def wants_help(command: str, summary: str, words: Sequence[str]) -> bool:
    """Print the help of a command if its command line asks for it.

    Returns:
        Whether help was printed.
    """
    if not {"-h", "--help"} & set(words):
        return False
    print(help_page(command, summary))
    return True


def help_page(command: str, summary: str) -> str:
    """The page of fit, validate, test or lr-find."""
    groups = [
        ("run", _run_options(command)),
        ("model: options of every network", _class_options(Classifier, "model", FROM_DATA)),
        ("data: options of every data module", _class_options(ImageDataModule, "data")),
    ]
    if command in ("fit", "folds"):
        groups.append(("checkpoint: more frequent writes of last.ckpt", _options_of(BestAndLast, "checkpoint")))
        groups.append(("pictures: TensorBoard's Images", _options_of(Pictures, "pictures")))
    groups.append(("trainer: Lightning's own options, see lightning.ai/docs", _options_of(Trainer, "trainer")))
    lines = [f"usage: lit-vision {command} [options]", "", summary]
    for title, options in groups:
        lines += ["", f"{title}:", *(line for option in options for line in _lines(option))]
    return "\n".join(lines)


def _run_options(command: str) -> list[Option]:
    configs = ", ".join(shipped_configs())
    options = [
        Option("--config", f"Config: a file, or one of {configs}. Several are merged, and a later one wins."),
        Option("--ckpt_path", CKPT_PATH),
        Option("--name", NAME),
        Option("--seed_everything", SEED, 0),
        Option("--print_config", "Print all options as YAML. With =skip_default, only those that are not the default."),
    ]
    if command == "check":
        options.append(Option("--output", "Folder of the report.", "check"))
    if command == "folds":
        options.append(Option("--k", "Number of folds.", 5))
    if command in ("validate", "test"):
        options.append(Option("--verbose", "Print the results as a table.", True))
    if command == "test":
        options.append(Option("--accept", ACCEPT))
    if command == "lr-find":
        options += [
            Option("--min_lr", "Learning rate of the first step.", 1e-4),
            Option("--max_lr", "Learning rate of the last step.", 1.0),
            Option("--num_training", "Number of steps.", 1000),
        ]
    return options


def _class_options(base: type, key: str, leave_out: Sequence[str] = ()) -> list[Option]:
    """The option that takes a class, and the options that all its classes share."""
    classes: list[type] = subclasses(base)
    names = {found.__name__ for found in classes if not inspect.isabstract(found)}
    return [
        Option(f"--{key}", f"Class: {', '.join(sorted(names))}, or your own MODULE.CLASS."),
        Option(f"--{key}.help CLASS", "Show all options of a class."),
        *_options_of(base, key, leave_out),
    ]


def _options_of(of: type, key: str, leave_out: Sequence[str] = ()) -> list[Option]:
    """The constructor's options, with the first sentence of their documentation."""
    documented = inspect.getdoc(of) if of is not Trainer else inspect.getdoc(of.__init__)
    texts = {found.arg_name: found.description or "" for found in parse(documented or "").params}
    parameters = inspect.signature(of).parameters
    return [
        Option(f"--{key}.{name}", _first_sentence(texts.get(name, "")), parameter.default)
        for name, parameter in parameters.items()
        if name not in leave_out and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]


def _first_sentence(text: str) -> str:
    text = re.sub(r":\w+:`~?([^`]+)`", r"\1", " ".join(text.replace("``", "").split()))  # Sphinx's roles
    sentence = text.partition(". ")[0].rstrip(".")
    return f"{sentence[:1].upper()}{sentence[1:]}."


def _lines(option: Option) -> list[str]:
    default = "" if option.default in (inspect.Parameter.empty, None, ()) else f" [{_shown(option.default)}]"
    text = textwrap.wrap(option.text + default, _WIDTH - _INDENT) or [""]
    first = f"  {option.name}"
    if len(first) + 2 > _INDENT:
        return [first, *(" " * _INDENT + line for line in text)]
    return [f"{first:<{_INDENT}}{text[0]}", *(" " * _INDENT + line for line in text[1:])]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value)) if isinstance(value, tuple) else str(value)
