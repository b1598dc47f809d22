"""Names of images by what they hold: the same for an image in every run, another for a changed one."""

import os
import time
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

from torch import Tensor

from lit_vision.errors import UserError
from lit_vision.utils.bars import progress_bar
from lit_vision.utils.text import printable

_FEW_BYTES = 64 * 2**20  # whose content is read in 0.1 to 0.2 s
_FEW_FILES = 5_000
_FRESH = 2 * 10**9  # nanoseconds in which a file may change again without another time of change


def are_few(paths: Sequence[Path | str]) -> bool:
    """Whether files are so few that their content can name them."""
    return len(paths) <= _FEW_FILES and sum(status_of(path).st_size for path in paths) <= _FEW_BYTES


def file_ids(paths: Sequence[Path | str], found: Sequence[os.stat_result], by_content: bool) -> list[bytes]:
    """Name image files, by 16 bytes each.

    Args:
        paths: the files.
        found: the status of each file.
        by_content: take the content. Otherwise, the name, the inode, the size and the times of the last changes serve,
            except for a file that was changed in the last two seconds.

    Raises:
        UserError: a file cannot be read.
    """
    now = time.time_ns()
    return [_file_id(path, status, by_content, now) for path, status in zip(paths, found, strict=True)]


def _file_id(path: Path | str, status: os.stat_result, by_content: bool, now: int) -> bytes:
    if by_content or now - max(status.st_ctime_ns, status.st_mtime_ns) < _FRESH:
        try:
            with open(path, "rb", buffering=0) as file:
                return _digest(b"content", file.read())
        except OSError as error:
            raise _gone(path, error) from error
    named = (os.path.basename(path), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return _digest(b"file", repr(named).encode("utf-8", "surrogateescape"))


def stamp(path: Path | str) -> tuple[int, int] | None:
    """The size and the time of the last change of a file, in nanoseconds; None if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def tensor_ids(images: Tensor) -> list[bytes]:
    """Name images in memory, (N, 3, H, W) uint8, by their pixels."""
    shape = repr(tuple(images.shape[1:])).encode()
    return [_digest(shape, image.contiguous().numpy().data) for image in images]


def _digest(what: bytes, content: bytes | memoryview) -> bytes:
    return blake2b(content, digest_size=16, person=what[:16]).digest()


def all_status(paths: Sequence[Path | str]) -> list[os.stat_result]:
    """The status of each file.

    Raises:
        UserError: a file is missing.
    """
    bar = progress_bar("looking for changes", items=paths, unit="files", delay=1)
    return [status_of(path) for path in bar]


def status_of(path: Path | str) -> os.stat_result:
    """The status of a file.

    Raises:
        UserError: there is none.
    """
    try:
        return os.stat(path)
    except OSError as error:
        raise _gone(path, error) from error


def _gone(path: Path | str, error: OSError) -> UserError:
    return UserError(f"cannot read {printable(str(path))} ({error.strerror}): repair or delete it")
