"""Output whose reader may go away, such as head or a terminal that was closed, while there is work to do."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _Outliving:
    """A stream that loses what is written once its reader is gone, rather than raise an error."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except BrokenPipeError:
            self._lose()
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._lose()

    def _lose(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


@contextmanager
def outliving_readers() -> Iterator[None]:
    """Let a block go on, in silence, if the reader of stdout or stderr goes away."""
    before = sys.stdout, sys.stderr
    streams = {id(stream): _Outliving(stream) for stream in before}
    loggers = [logging.getLogger(name) for name in ("lit_vision", "lightning.pytorch", "lightning.fabric")]
    handlers = {handler for logger in loggers for handler in logger.handlers}
    changed: list[tuple[Any, Any]] = []
    for handler in handlers:
        if isinstance(handler, logging.StreamHandler) and id(handler.stream) in streams:
            changed.append((handler, handler.stream))
            handler.setStream(streams[id(handler.stream)])
    sys.stdout, sys.stderr = (streams[id(stream)] for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for handler, stream in changed:
            handler.setStream(stream)
