"""Read checkpoints and weights files without running code, and find the network that they belong to."""

import inspect
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lit_vision.errors import UserError
from lit_vision.models.checkpoint_content import check_content
from lit_vision.models.modules import InputSpec, first_line
from lit_vision.runs import LAST, PREVIOUS
from lit_vision.utils.torch_file import checked

N = TypeVar("N", bound=nn.Module)
T = TypeVar("T")


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint that the Trainer wrote, with tensors on the CPU.

    Raises:
        UserError: the file is missing or broken, holds more than tensors and plain values, or is not a checkpoint, or
            not one that can be right.
    """
    checkpoint = read_dictionary(path, "checkpoint")
    if "state_dict" not in checkpoint or "hyper_parameters" not in checkpoint:
        raise UserError(f"{path} is not a checkpoint of a run: use --model.weights {path} if it is a weights file")
    check_content(checkpoint, path)
    return checkpoint


def read_dictionary(path: str | Path, kind: str) -> dict[str, Any]:
    """Read a file that torch.save wrote, without running code, with tensors on the CPU.

    Args:
        path: the file.
        kind: what it should be, for errors.

    Raises:
        UserError: the file is missing or broken, holds more than tensors and plain values, or is not a dictionary.
    """
    if not Path(path).is_file():
        raise UserError(f"there is no {kind} {path}: check the path")
    try:
        with checked_checkpoint(path):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except Exception as error:  # torch raises pickle, zip, EOF and runtime errors for broken files
        raise UserError(
            f"{path} cannot be read as a {kind} (it is truncated, not a PyTorch file, or holds more than tensors and "
            "plain values): use another file"
        ) from error
    if not isinstance(content, dict):
        raise UserError(
            f"{path} holds a {type(content).__name__} instead of weights by name: save a state_dict() with torch.save"
        )
    return content


def checked_checkpoint(path: str | Path) -> AbstractContextManager[None]:
    """Check a file as :func:`checked` does; the error names the checkpoint before it, if there is one."""
    previous = Path(path).with_name(PREVIOUS)
    if Path(path).name == LAST and previous.is_file():
        return checked(path, f"use {previous}, the one before it, as --ckpt_path last does")
    return checked(path)


def check_state_dict(network: nn.Module, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Compare the names and shapes of a state_dict with those of a network.

    Raises:
        UserError: the names or shapes differ; the message lists the first differences.
    """
    own = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    other = {name: tuple(tensor.shape) for name, tensor in state.items() if isinstance(tensor, Tensor)}
    differences = [
        *(f"{name} is missing" for name in own if name not in other),
        *(f"{name} is unknown" for name in other if name not in own),
        *(
            f"{name} has shape {other[name]} instead of {shape}"
            for name, shape in own.items()
            if name in other and other[name] != shape
        ),
    ]
    if differences:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise UserError(
            f"{path} holds another network than {type(network).__name__} with these options "
            f"({'; '.join(differences[:3])}{more}): use the options that it was trained with"
        )


def check_resumable(
    network: nn.Module, class_names: list[str], spec: InputSpec, checkpoint: Mapping[str, Any], path: str | Path
) -> None:
    """Check that a checkpoint is of this network, these classes, and images that are normalised in this way.

    Raises:
        UserError: something is different.
    """
    check_state_dict(network, checkpoint["state_dict"], path)
    names = list(checkpoint["hyper_parameters"].get("class_names", class_names))
    if names != class_names:
        raise UserError(
            f"{path} knows the classes {', '.join(names)}, but the data has {', '.join(class_names)}: "
            "use the data that it was trained on"
        )
    for name, ours in (("mean", spec.mean), ("std", spec.std)):
        theirs = checkpoint["hyper_parameters"].get(name)
        if theirs is not None and tuple(theirs) != tuple(ours):
            raise UserError(
                f"{path} was trained with {name} {list(theirs)}, but --data.{name} is {list(ours)}: use what it was "
                "trained with"
            )


def load_model(
    path: str | Path, base: type[nn.Module], wanted: type[N], options: Mapping[str, Any]
) -> tuple[N, dict[str, Any]]:
    """Construct the network of a checkpoint, and load its weights; returns it with the content of the file.

    Args:
        path: the checkpoint.
        base: the class whose subclasses a checkpoint may hold.
        wanted: the class that this checkpoint must hold: ``base`` or one of its subclasses.
        options: hyperparameters that replace the saved ones.

    Raises:
        UserError: the file is missing or broken, its class is not imported or not a subclass of ``wanted``, or its
            weights do not match ``options``.
    """
    checkpoint = read_checkpoint(path)
    kind = find_class(checkpoint, base, path)
    if not issubclass(kind, wanted):
        raise UserError(
            f"{path} holds a {class_path(kind)}, which is not a {wanted.__name__}: load it with {kind.__name__} or "
            f"{base.__name__}"
        )
    model = _construct(
        kind, {**_constructor_options(kind, checkpoint["hyper_parameters"], base), **options}, None if options else path
    )
    check_state_dict(model, checkpoint["state_dict"], path)
    model.load_state_dict(checkpoint["state_dict"])
    return model, checkpoint


def class_path(kind: type) -> str:
    """Full dotted path of a class, such as ``lit_vision.models.small_cnn.SmallCNN``, as checkpoints record it."""
    return f"{kind.__module__}.{kind.__qualname__}"


def find_class(checkpoint: Mapping[str, Any], base: type[N], path: str | Path) -> type[N]:
    """Find the class of a checkpoint among the imported subclasses of ``base``; nothing is imported.

    Raises:
        UserError: the class is not imported, or the checkpoint is not of a subclass of ``base``.
    """
    name = checkpoint.get("model_class")
    if name is None:
        raise UserError(f"{path} does not say which class it holds: use a checkpoint that lit-vision wrote")
    known = {class_path(kind): kind for kind in (base, *subclasses(base))}
    if name in known:
        return known[name]
    module, _, short = str(name).rpartition(".")
    if module == "__main__":  # from a script, whose class others import by the name of its file
        alike = [kind for kind in known.values() if kind.__qualname__ == short]
        if len(alike) == 1:
            return alike[0]
        name = f"MODULE.{short}"
    raise UserError(
        f"{path} holds a {name}, which is not imported: use --model {name}, or in Python import its module first"
    )


def _construct(kind: type[N], options: dict[str, Any], path: str | Path | None) -> N:
    """Call a constructor, without the options that the class itself sets, as in ``super().__init__(lr=1, **kwargs)``.

    Those options are among the hyperparameters, and no signature tells them apart, but Python's error names them.

    Args:
        kind: the class.
        options: its arguments.
        path: the file that all of them are from; None if some are not.

    Raises:
        UserError: the file has options that a class of this project cannot have.
    """
    while True:
        try:
            return kind(**options)
        except TypeError as error:
            conflict = re.search(r"got multiple values for (?:keyword )?argument '(\w+)'", str(error))
            if conflict is None or conflict[1] not in options:
                _blame_file(kind, path, error)
                raise
            del options[conflict[1]]
        except (ValueError, AttributeError, KeyError, IndexError, RuntimeError) as error:
            _blame_file(kind, path, error)
            raise


def _blame_file(kind: type[nn.Module], path: str | Path | None, error: Exception) -> None:
    """Say that a file has wrong options, if they go to a class of this project, whose own code is not to blame."""
    if path is not None and kind.__module__.startswith("lit_vision."):
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise UserError(f"{path} has options that {kind.__name__} cannot have ({reason}): use another file") from error


def _constructor_options(kind: type[nn.Module], hparams: Mapping[str, Any], base: type[nn.Module]) -> dict[str, Any]:
    """Select the hyperparameters that a class takes, directly or by passing ``**kwargs`` up to ``base``.

    A class without ``**kwargs`` sets the options of its base class itself: they are among the hyperparameters, but it
    does not take them. If the class takes ``weights``, they are None, since the checkpoint has its own.
    """
    taken: set[str] = set()
    for cls in kind.__mro__[: kind.__mro__.index(base) + 1]:
        if "__init__" not in vars(cls):
            continue
        parameters = inspect.signature(vars(cls)["__init__"]).parameters
        taken |= parameters.keys()
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    return {name: value for name, value in {**hparams, "weights": None}.items() if name in taken}


def subclasses(cls: type[T]) -> list[type[T]]:
    """All imported subclasses of a class, direct and indirect."""
    return [found for child in cls.__subclasses__() for found in (child, *subclasses(child))]
