"""The commands of lit-vision: each is one function, imported when it is run; validate and test share a module."""

import gc
from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

from lit_vision.errors import UserError


class Command(NamedTuple):
    """A command.

    Attributes:
        module: name of the module in this package that defines the command, as a function of the command's name.
        summary: the line that ``lit-vision --help`` shows for the command.
        outlives_readers: whether the command goes on if nobody reads what it prints, since it writes files.
    """

    module: str
    summary: str
    outlives_readers: bool = False


COMMANDS = {
    "check": Command("check", "Look for broken files, copies and wrong labels in a data set."),
    "fit": Command("fit", "Train a network, or resume a run.", outlives_readers=True),
    "validate": Command("evaluate", "Measure a trained network on the validation images, and write a report.", True),
    "test": Command("evaluate", "Measure a trained network on the test images, and write a report.", True),
    "folds": Command("folds", "Train a network for each of k folds, and predict every training image.", True),
    "predict": Command("predict", "Classify images with a trained network."),
    "export": Command("export", "Write a trained network as a state_dict, as ONNX or for torch.export."),
    "show": Command("show", "Show what a checkpoint holds, and what made it."),
    "runs": Command("runs", "List runs with their figures."),
    "compare": Command("compare", "Say whether two runs differ on the same images."),
    "cache": Command("cache", "List or clear what was decoded and computed once, for later runs."),
    "lr-find": Command("lr_find", "Search for a good learning rate.", True),
}


def load_command(name: str) -> Callable[[list[str]], int | None]:
    """Import a command. This takes seconds, since it loads torch and Lightning.

    Args:
        name: one of ``COMMANDS``.

    Returns:
        A function of the command line after the command. It returns the exit code, or None for 0, and raises a
        UserError if it fails for a reason that the user can fix.

    Raises:
        UserError: the installed packages are not compatible.
    """
    try:
        module = import_module(f"lit_vision.commands.{COMMANDS[name].module}")
    except (ImportError, OSError, RuntimeError) as error:
        if "torchvision" not in str(error):
            raise
        raise _mismatch(error) from error
    from lit_vision.utils.log import configure_logging
    from lit_vision.utils.memory import keep_freed_memory

    configure_logging()
    keep_freed_memory()
    if not gc.get_freeze_count():  # once, since garbage that is frozen is never collected
        gc.freeze()  # so that the millions of objects of the imported libraries are not looked through again and again
    command: Callable[[list[str]], int | None] = getattr(module, name.replace("-", "_"))
    return command


def _mismatch(error: Exception) -> UserError:
    from importlib.metadata import version

    builds = " and ".join(f"{name} {version(name)}" for name in ("torch", "torchvision"))
    return UserError(
        f"{builds} are not compatible ({error}): install a matching pair with "
        "pip install --upgrade --force-reinstall torch torchvision"
    )
