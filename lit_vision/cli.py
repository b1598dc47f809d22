"""The command line of ``lit-vision``, ``python -m lit_vision`` and the scripts: exit codes and error lines."""

import os
import sys
from collections.abc import Sequence
from importlib import metadata

from lit_vision.errors import TrainingInterrupted, UserError


def main(args: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        args: the words after the program's name; by default those of this process.

    Returns:
        The exit code: 0, 2 for what the user can mend (one line on stderr; $LIT_VISION_DEBUG=1 shows the traceback),
        130 after Ctrl-C, 143 after SIGTERM.
    """
    try:
        _run(list(sys.argv[1:] if args is None else args))
    except UserError as error:
        if os.environ.get("LIT_VISION_DEBUG") == "1":
            raise
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except TrainingInterrupted as stopped:
        return 128 + stopped.signum
    except KeyboardInterrupt:
        return 130
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # which the Trainer turns into exit code 1
            return 130
        if type(error).__name__ == "SIGTERMException":  # Lightning's, before the first step
            return 143
        return error.code if isinstance(error.code, int) else 1
    return 0


def _run(args: list[str]) -> None:
    try:
        from lit_vision.commands import run  # not at the top: a broken torch must end in a line, not a traceback
    except (ImportError, OSError, RuntimeError) as error:
        if "torchvision" not in str(error):
            raise
        builds = " and ".join(f"{name} {metadata.version(name)}" for name in ("torch", "torchvision"))
        raise UserError(
            f"{builds} do not fit each other ({error}): install a matching pair with "
            "pip install --upgrade --force-reinstall torch torchvision"
        ) from error
    run(args)
