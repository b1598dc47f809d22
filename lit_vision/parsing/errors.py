"""jsonargparse's errors, which run over many lines and repeat themselves, as one line with a remedy."""

import difflib
import inspect
import re
from collections.abc import Iterable
from importlib import import_module

from lit_vision.errors import UserError

_NOISE = re.compile(
    r"Does not validate against any of the Union subtypes|Subtypes: |Errors:|Expected a <class 'NoneType'>"
    r"|Given value type: |Given value: (NestedArg|Namespace|\{)|Expected a path but"
)
_WORDING = (
    (r"<class '(?:[\w.]*\.)?(\w+)'>", r"\1"),
    (r'Parser key "([^"]+)":', r"\1:"),
    (r"Problem with given class_path '(?:[\w.]*\.)?(\w+)':", r"\1:"),
    (r"Expected a typing\.Literal\[([^]]*)\]", r"expected one of \1"),
    (r"Expected a dot import path string:", "there is no class"),
    (r"Expected an? ", "expected "),
    (r"[. ]*(Got|Given) value: ", "; got "),
)


def explain(error: Exception, options: Iterable[str]) -> UserError:
    """What an error of the parser means.

    Args:
        error: raised while parsing or instantiating.
        options: all that the subcommand knows, such as --trainer.max_epochs, to find the one that was meant.
    """
    if own := own_error(error):
        return own
    message = str(error)
    if unknown := re.search(r"unrecognized arguments: (--[^\s=]+)", message, re.IGNORECASE):
        return UserError(f"there is no option {unknown[1]}{_meant(unknown[1], options)}: see --help")
    if missing := re.search(r"arguments are required: ([\w, ]+)", message):
        needed = " and ".join(f"--{name}" for name in missing[1].split(", "))
        return UserError(f"it needs {needed}: see --help")
    if unknown := re.search(r"class_path '([\w.]+)':\s+Option '([\w.]+)' is not accepted", message):
        module, name = unknown[1].rsplit(".", 1)
        known = _parameters(getattr(import_module(module), name))
        return UserError(f"{name} has no option {unknown[2]}{_meant(unknown[2], known)}: see fit --help")
    lines = (line.strip(" -") for line in message.splitlines())
    text = " ".join(line for line in lines if line and not _NOISE.match(line))
    for pattern, replacement in _WORDING:
        text = re.sub(pattern, replacement, text)
    return UserError(f"{text.rstrip('.')}: correct it, or see --help")


def own_error(error: BaseException | None) -> UserError | None:
    """The error of ours that an error was made of, raised in a class that the parser instantiates: it says more."""
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__ or error.__context__
    return error


def _meant(unknown: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(unknown, list(known), n=1)
    return f", did you mean {close[0]}?" if close else ""


def _parameters(class_type: type) -> set[str]:
    return {name for base in class_type.__mro__[:-1] for name in inspect.signature(base).parameters} - {"kwargs"}
