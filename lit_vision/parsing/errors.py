"""Turn jsonargparse's errors, which are long and repeat themselves, into one line with a remedy."""

import difflib
import inspect
import re
from collections.abc import Iterable
from importlib import import_module

from lightning.pytorch import Callback

from lit_vision.data import ImageDataModule
from lit_vision.errors import UserError
from lit_vision.models import Classifier
from lit_vision.models.checkpoint import subclasses

_BASES: dict[str, type] = {"model": Classifier, "data": ImageDataModule, "trainer.callbacks": Callback}
"""The base class of each option that takes a class."""

_NOISE = re.compile(
    r"Does not validate against any of the Union subtypes|Subtypes: |Errors:|Expected a <class 'NoneType'>"
    r"|Given value type: |Given value: (NestedArg|Namespace|\{)|Expected a path but"
)
_WORDING = (
    (r"<class '(?:[\w.]*\.)?(\w+)'>", r"\1"),
    (r'Parser key "([^"]+)":', r"--\1:"),
    (r"Problem with given class_path '(?:[\w.]*\.)?(\w+)':", r"\1:"),
    (r"Expected a typing\.Literal\[([^]]*)\]", r"expected one of \1"),
    (r"Expected an? ", "expected "),
    (r"--([\w.]+): \w+: --([\w.]+):", r"--\1.\2:"),
    (r"expected int (?=expected one of)", ""),
    (r"(expected one of .*) expected one of", r"\1,"),
    (r"Not of type \w+: does not conform to restriction v>=0", "or a number of at least 0"),
    (r"[. ]*(Got|Given) value:$", "; got nothing"),
    (r"[. ]*(Got|Given) value: ", "; got "),
)


def explain(error: Exception, command: str, keys: Iterable[str]) -> UserError:
    """Explain an error of the parser.

    Args:
        error: the error that was raised while parsing or instantiating.
        command: name of the command, whose page of help the message names.
        keys: all options of the command, such as trainer.max_epochs, for a guess at the one that was meant.
    """
    if own := own_error(error):
        return own
    message = str(error)
    page = f"see lit-vision {command} --help"
    if found := re.search(r"(?:unrecognized arguments: --|[Kk]ey '?\"?)(optimizer|lr_scheduler)\b", message):
        optimizer = "--model.optimizer sgd, adamw, muon or muon_sgd"
        ours = {"optimizer": optimizer, "lr_scheduler": "--model.schedule"}[found[1]]
        return UserError(
            f"{found[1]} is LightningCLI's: use {ours} instead, with --model.lr and --model.warmup ({page})"
        )
    if unknown := re.search(r"unrecognized arguments: (\S+)", message, re.IGNORECASE):
        return _unknown_option(unknown[1], page, keys)
    if unknown := re.search(r'Parser key "([\w.]+)":(?:.|\n)*Expected a dot import path string: (\S+)', message):
        return _unknown_class(unknown[1], unknown[2])
    if unknown := re.search(r"class_path '([\w.]+)':\s+Option '([\w.]+)' is not accepted", message):
        return _unknown_class_option(unknown[1], unknown[2], command)
    if missing := re.search(
        r'Parser key "([\w.]+)":(?:.|\n)*class_path \'[\w.]*?(\w+)\':\s+.*arguments are required: ([\w, ]+)', message
    ):
        needed = " and ".join(f"--{missing[1]}.{name}" for name in missing[3].split(", "))
        return UserError(f"{missing[2]} needs {missing[3]}: set {needed}")
    if missing := re.search(r"arguments are required: ([\w, ]+)", message):
        needed = " and ".join(f"--{name}" for name in missing[1].split(", "))
        return UserError(f"{command} needs {needed}: {page}")
    lines = (line.strip(" -") for line in message.splitlines())
    text = " ".join(dict.fromkeys(line for line in lines if line and not _NOISE.match(line)))
    for pattern, replacement in _WORDING:
        text = re.sub(pattern, replacement, text)
    text = re.sub(r"(?<=[\w'])\s+expected ", " or ", text, flags=re.IGNORECASE)
    return UserError(f"{text.rstrip('.')}: {_right_form(text) or page}")


def _right_form(text: str) -> str | None:
    """The form that an option takes, if the value in an error of the parser shows what was meant."""
    found = re.match(r"--([\w.]+): [Ee]xpected ([^;]*)(?:; got (.*))?$", text)
    if found is None:
        return None
    option, types, given = found[1], found[2], found[3] or ""
    words = given.strip("[]( )").split(",")
    form = None
    is_list = given.startswith("[")
    if not is_list and ("Sequence" in types or "tuple" in types) and (len(words) > 1 or "or" not in types.split()):
        form = f"'[{', '.join(word.strip() for word in words)}]'"
    elif "dict" in types:
        form = "'{NAME: VALUE, NAME: VALUE}', with a space after each colon"
    elif len(words) > 1 and re.fullmatch(r"int|float|int or float", types):
        form = f"{words[0].strip()}, one number"
    elif (percent := re.fullmatch(r"([\d.]+)%", given)) and "float" in types:
        form = f"{float(percent[1]) / 100:g}"
    return form and f"use --{option} {form}"


def explain_trainer_error(error: Exception) -> UserError:
    """Explain an error that Lightning raised for the options of ``--trainer``."""
    if found := re.search(r"No supported (\w+) backend found", str(error)):
        name = found[1].upper()
        return UserError(f"there is no {name} here: leave --trainer.accelerator out, or set it to cpu")
    return UserError(f"{str(error).rstrip('.!')}: change the options of --trainer")


def own_error(error: BaseException | None) -> UserError | None:
    """The UserError of a constructor, in the chain of causes of the parser's error; None if there is none."""
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__ or error.__context__
    return error


def _unknown_option(word: str, page: str, keys: Iterable[str]) -> UserError:
    if not word.startswith("-"):
        return UserError(f"{word} is not an option: did you mean --config {word}? ({page})")
    option = word.partition("=")[0]
    shared = [f"{key}.{name}" for key, base in _BASES.items() for name in _parameters(base)]
    return UserError(f"there is no option {option}{_meant(option.lstrip('-'), [*keys, *shared], '--')}: {page}")


def _unknown_class(key: str, name: str) -> UserError:
    base = _BASES.get(key)
    classes: list[type] = subclasses(base) if base else []
    known = [found.__name__ for found in classes if not inspect.isabstract(found)]
    ours = f"one of {', '.join(sorted(set(known)))}, or to " if key in ("model", "data") else ""
    own = "MODULE.CLASS of your own, in a file of this folder or in an installed package"
    return UserError(f"there is no class {name}{_meant(name, known)}: set --{key} to {ours}{own}")


def _unknown_class_option(class_path: str, option: str, command: str) -> UserError:
    module, _, name = class_path.rpartition(".")
    found: type = getattr(import_module(module), name)
    key = next((key for key in ("model", "data") if issubclass(found, _BASES[key])), None)
    page = f"lit-vision {command} --{key}.help {name}" if key else f"the documentation of {class_path}"
    return UserError(f"{name} has no option {option}{_meant(option, _parameters(found))}: see {page}")


def _meant(unknown: str, known: Iterable[str], prefix: str = "") -> str:
    """A guess at the name that was meant: one that ends in the word, or one with a similar spelling; empty without."""
    names = list(known)
    ends = [name for name in names if re.search(rf"(^|[._]){re.escape(unknown)}$", name)]
    close = ends or difflib.get_close_matches(unknown, names, n=1, cutoff=0.7)
    likeliest = sorted(close, key=lambda name: (name.rpartition(".")[2] != unknown, "max_" not in name, len(name)))
    return f" (did you mean {prefix}{likeliest[0]}?)" if close else ""


def _parameters(class_type: type) -> set[str]:
    return {name for base in class_type.__mro__[:-1] for name in inspect.signature(base).parameters} - {"kwargs"}
