"""The signals that ask a process to end, and the exit codes that stand for them."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from lit_vision.errors import TrainingInterrupted

ENDING = [signal.SIGINT, signal.SIGTERM]
"""Ctrl-C, the request of a scheduler, and SIGHUP where there is one: the terminal is gone."""

if sys.platform != "win32":
    ENDING.append(signal.SIGHUP)

_DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)
_received: list[int] = []


def received() -> int:
    """The signal that :func:`interrupt` has received in this command; 0 if there was none.

    Its exception may be lost: Python ignores those in functions that it calls on its own, and C code may replace them.
    """
    return _received[0] if _received else 0


def forget() -> None:
    """Begin a new command."""
    _received.clear()


def signal_of(error: BaseException | None) -> int:
    """The signal that an error, or one that it hides, stands for; 0 if there is none."""
    while error is not None:
        if isinstance(error, TrainingInterrupted):
            return error.signum
        if isinstance(error, KeyboardInterrupt):
            return signal.SIGINT
        error = error.__context__
    return received()


def exit_from_now_on() -> None:
    """Let the signals end the process at once until :func:`at_signals` handles them; for its first moments."""
    for signum in ENDING:
        if signal.getsignal(signum) in _DEFAULTS:
            signal.signal(signum, exit_at_once)


@contextmanager
def at_signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle the signals within a block.

    A signal that is ignored stays so: SIGHUP is under nohup. Outside the main thread, no handler can be set.
    """
    before = {signum: signal.getsignal(signum) for signum in ENDING}
    changed = {signum: previous for signum, previous in before.items() if previous in (*_DEFAULTS, exit_at_once)}
    if threading.current_thread() is not threading.main_thread():
        changed = {}
    for signum in changed:
        signal.signal(signum, handler)
    try:
        yield
    finally:
        for signum, previous in changed.items():
            signal.signal(signum, previous)


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Let the signals raise exceptions within a block, see :func:`interrupt`."""
    hook = sys.unraisablehook

    def report(lost: "sys.UnraisableHookArgs") -> None:
        if not isinstance(lost.exc_value, KeyboardInterrupt | TrainingInterrupted):  # received() knows of these
            hook(lost)

    sys.unraisablehook = report
    try:
        with at_signals(interrupt):
            yield
    finally:
        sys.unraisablehook = hook


def leave(code: int) -> None:
    """End the process at once: Python would take a second to take apart what torch and Lightning have built."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, RuntimeError):  # its reader is gone, it is closed, or was just being written
            stream.flush()
    os._exit(code)


def exit_at_once(signum: int, frame: FrameType | None) -> None:
    """Handle a signal while there is nothing to clean up."""
    leave(128 + signum)


def interrupt(signum: int, frame: FrameType | None) -> None:
    """Handle a signal by an exception: KeyboardInterrupt for Ctrl-C, TrainingInterrupted for the others."""
    _received.append(signum)
    if signum == signal.SIGINT:
        raise KeyboardInterrupt
    raise TrainingInterrupted(signum)


def ignore_signals() -> None:
    """Ignore the signals from now on: all is done, and libraries only clean up."""
    for signum in ENDING:
        signal.signal(signum, signal.SIG_IGN)
