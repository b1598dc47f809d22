"""Files that are whole or not there at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lit_vision.errors import UserError


def make_writable(root: Path, option: str = "--data.root") -> None:
    """Create a folder if need be, and try to write in it; ``option`` names another.

    Raises:
        UserError: it is a file, or cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        reason = "is a file" if root.is_file() else f"cannot be written ({error.strerror})"
        raise UserError(f"{root} {reason}: name another folder with {option}") from error


def check_output(path: Path, option: str, suffix: str | None = None) -> None:
    """See whether a file can be written before the work for it is done; its folder is made.

    Raises:
        UserError: it is a folder, its folder cannot be written, or its name does not end in ``suffix``.
    """
    if path.is_dir() or not path.name:
        raise UserError(f"{path} is a folder: give {option} the name of a file")
    if suffix is not None and path.suffix.lower() != suffix:
        raise UserError(f"{path} does not end in {suffix}: give {option} a name that does")
    make_writable(path.parent, option)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Around the writing of a file: gives the name to write to, which takes the place of ``path`` at the end.

    A reader, or a crash, never meets half a file. What is no regular file, such as /dev/stdout, is written directly.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    path = path.resolve()  # a link stays one
    beside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
