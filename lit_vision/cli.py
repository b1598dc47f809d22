"""The command line of ``lit-vision``, ``python -m lit_vision`` and the scripts: exit codes and one-line errors."""

import atexit
import difflib
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from typing import NoReturn

from lit_vision.commands import COMMANDS, load_command
from lit_vision.errors import TrainingInterrupted, UserError
from lit_vision.utils.ending import (
    at_signals,
    exit_at_once,
    forget,
    ignore_signals,
    interrupted_by_signals,
    leave,
    received,
    signal_of,
)
from lit_vision.utils.faults import explain, first_line, is_own_fault
from lit_vision.utils.ranks import drop_leftover_ranks
from lit_vision.utils.readers import outliving_readers


def run(*command: str) -> NoReturn:
    """Run the command line of this process, and end it.

    Args:
        command: words to put before those of the command line.
    """
    codes = [1]
    atexit.register(lambda: leave(codes[0]))  # the first that is registered is the last that is called
    codes[0] = main([*command, *sys.argv[1:]])
    sys.exit(codes[0])


def main(args: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        args: the words after the program's name; by default, those of this process.

    Returns:
        The exit code: 0 for success; 1 if predict could not read an image, and for a fault of the code; 2 for an error
        that the user can fix, which is printed as one line on stderr ($LIT_VISION_DEBUG=1 shows its traceback); 130
        after Ctrl-C; 141 if the reader of the output is gone, for commands that write nothing else; 129 after SIGHUP,
        143 after SIGTERM.
    """
    forget()
    try:
        code = _run(list(sys.argv[1:] if args is None else args)) or 0
        sys.stdout.flush()  # here, so that an error is caught below
        return 128 + received() if received() else code
    except (TrainingInterrupted, KeyboardInterrupt) as interrupted:
        return 128 + signal_of(interrupted)
    except BrokenPipeError:  # the reader of our output, such as head, is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more when it ends
        return 141  # 128 + SIGPIPE
    except SystemExit as error:
        return _exit_code(error)
    except Exception as error:
        if signum := signal_of(error):  # it broke off something that then failed
            return 128 + signum
        if os.environ.get("LIT_VISION_DEBUG") == "1":
            raise
        if message := first_line(error) if isinstance(error, UserError) else explain(error):
            print(f"error: {message}", file=sys.stderr)
            return 2
        traceback.print_exception(error)
        if is_own_fault(error):
            print("This is a fault in lit-vision. Please report it with the lines above.", file=sys.stderr)
        return 1
    finally:
        atexit.unregister(ignore_signals)
        atexit.register(ignore_signals)  # now, to be the first function that the interpreter calls when it ends


def _run(words: list[str]) -> int | None:
    name, *rest = words or ["--help"]
    if name in ("-h", "--help"):
        print(help_page())
        return 0 if words else _no_command()
    if name in ("-V", "--version"):
        from lit_vision import __version__

        print(f"lit-vision {__version__}")
        return 0
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        meant = f" (did you mean {close[0]}?)" if close else ""
        raise UserError(f"invalid choice: {name!r} is not a command{meant}: choose from {', '.join(COMMANDS)}")
    if (folder := os.getcwd()) not in sys.path:  # for the user's own classes; last, so that it hides nothing
        sys.path.append(folder)
    drop_leftover_ranks(os.environ)
    with at_signals(exit_at_once):
        command = load_command(name)
    with interrupted_by_signals(), outliving_readers() if COMMANDS[name].outlives_readers else nullcontext():
        return command(rest)


def help_page() -> str:
    """The page that ``lit-vision --help`` prints."""
    commands = "\n".join(f"  {name:<10}{command.summary}" for name, command in COMMANDS.items())
    return f"""usage: lit-vision COMMAND [options]

Train, test and use image classifiers.

commands:
{commands}

options:
  -h, --help     Show this page; `lit-vision COMMAND --help` shows the options of a command.
  -V, --version  Show the version."""


def _no_command() -> int:
    raise UserError(f"no command was given: use one of {', '.join(COMMANDS)}")


def _exit_code(error: SystemExit) -> int:
    if isinstance(error.__context__, KeyboardInterrupt):  # after Ctrl-C, the Trainer itself exits with 1
        return 130
    if "lightning" in sys.modules:
        from lightning.pytorch.utilities.exceptions import SIGTERMException

        if isinstance(error, SIGTERMException):  # raised before the first step
            return 143
    return error.code if isinstance(error.code, int) else 0 if error.code is None else 1
