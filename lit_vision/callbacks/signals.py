"""Signals as requests to stop between two steps."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Trainer

from lit_vision.utils.ending import ENDING, received

Handler = Callable[[int, FrameType | None], Any] | int | None


class SignalWatch:
    """Records SIGINT (Ctrl-C), SIGTERM and SIGHUP instead of ending the process, so that a run can stop between steps.

    Only the first signal is recorded. A second one ends the process at once.
    """

    def __init__(self) -> None:
        self._received = 0
        self._previous: dict[signal.Signals, Handler] = {}

    def start(self) -> None:
        """Handle the signals from now on. This does nothing outside the main thread, where Python does not allow it.

        SIGUSR1, which SLURM sends before it requeues a job, is left to Lightning.
        """
        self._received = received()  # whose exception was lost
        if threading.current_thread() is threading.main_thread():
            handlers = {signum: signal.getsignal(signum) for signum in ENDING}
            # one that is ignored stays so, such as SIGHUP under nohup
            self._previous = {signum: handler for signum, handler in handlers.items() if handler != signal.SIG_IGN}
            for signum in self._previous:
                signal.signal(signum, self._note)

    def stop(self) -> None:
        """Restore the handlers from before :meth:`start`. It may be called more than once."""
        for signum, handler in self._previous.items():
            _restore(signum, handler)
        self._previous = {}

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self._received = signum
        for known, handler in self._previous.items():
            if known == signal.SIGTERM:
                handler = signal.SIG_DFL  # Lightning's would wait for the end of a step
            _restore(known, handler)

    def agreed(self, trainer: Trainer) -> int:
        """Return the number of the signal that this or any other rank received, 0 for none.

        The ranks communicate, so all of them must call this at the same step.
        """
        if trainer.world_size == 1:
            return self._received
        received = torch.tensor(float(self._received), device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(received, reduce_op="max"))


def _restore(signum: signal.Signals, handler: Handler) -> None:
    if handler is not None:  # None: it was not installed from Python, and cannot be set from here
        signal.signal(signum, handler)
