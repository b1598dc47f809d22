"""Files that are whole or not there at all."""

import errno
import glob
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lit_vision.errors import UserError


def ensure_writable(root: Path, option: str = "--data.root") -> None:
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
    ensure_writable(path.parent, option)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Around the writing of a file: gives the name to write to, which takes the place of ``path`` at the end.

    A reader, or a crash, never meets half a file. What is no regular file, such as /dev/stdout, is written directly.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    path = path.resolve()  # a link stays one
    beside = path.with_name(_half(path, str(os.getpid())))
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def explain_full_disks(folder: Path) -> Iterator[None]:
    """Around all that writes in a folder, libraries among it: a full disk becomes one line.

    Raises:
        UserError: the disk, or what a user may have on it, is full.
    """
    hook = threading.excepthook

    def report(args: Any) -> None:
        if not _is_full(args.exc_value):  # TensorBoard writes in a thread, and tells its caller later
            hook(args)

    threading.excepthook = report
    try:
        yield
    except OSError as error:
        if not _is_full(error):
            raise
        raise UserError(
            f"cannot write in {folder} ({error.strerror}): make room, and go on with --ckpt_path last, or start in "
            "another folder with --trainer.default_root_dir"
        ) from error
    finally:
        threading.excepthook = hook


def _is_full(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def remove_partial_files(path: Path) -> None:
    """Remove what :func:`atomic_write` left beside ``path`` in killed processes; no other may be writing it."""
    for half in path.parent.glob(_half(Path(glob.escape(path.name)), "*")):
        half.unlink(missing_ok=True)


def _half(path: Path, process: str) -> str:
    return f".{path.stem}.{process}{path.suffix}"
