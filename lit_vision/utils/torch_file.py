"""Checks of the files that torch.save writes against the checksums that they hold, of which torch.load reads none."""

import mmap
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from lit_vision.errors import UserError

_LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Of the header before each record: signature, and the lengths of the name and the extra field."""

_ZIP = b"PK"  # at the start of files in today's format; that of torch before 1.6 has no checksums
_WORTH_A_THREAD = 32 * 2**20  # bytes


def find_damage(path: str | Path) -> str | None:
    """Find out whether a file holds what torch.save wrote, which is a zip file.

    Args:
        path: the file.

    Returns:
        What is wrong; None if each record, at the place that the directory at the end of the file names, has the
        CRC-32 that stands there.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        try:
            with (
                zipfile.ZipFile(file) as records,
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole,
                memoryview(whole) as content,
            ):
                for record in records.infolist():
                    if not _is_whole(record, content):
                        return "its checksums do not match"
        except (zipfile.BadZipFile, ValueError, struct.error, EOFError, OverflowError, NotImplementedError):
            return "it is cut short, or not a PyTorch file"
    return None


@contextmanager
def checked(path: str | Path, remedy: str = "use another file") -> Iterator[None]:
    """Check a file while a block reads it, unless it is in a format without checksums.

    Args:
        path: the file.
        remedy: what to do about a damaged one, for the error.

    Raises:
        UserError: the file is damaged; this replaces any error of the block.
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        has_checksums = file.read(len(_ZIP)) == _ZIP
    if not has_checksums:
        yield
    elif os.path.getsize(path) < _WORTH_A_THREAD:
        _refuse(path, find_damage(path), remedy)
        yield
    else:
        with ThreadPoolExecutor(1) as pool:
            damage = pool.submit(find_damage, path)
            try:
                yield
            finally:
                _refuse(path, damage.result(), remedy)


def _refuse(path: str | Path, damage: str | None, remedy: str) -> None:
    if damage is not None:
        raise UserError(f"{path} is damaged ({damage}): {remedy}")


def _is_whole(record: zipfile.ZipInfo, content: memoryview) -> bool:
    signature, name, extra = _LOCAL_HEADER.unpack_from(content, record.header_offset)
    start = record.header_offset + _LOCAL_HEADER.size
    data = start + name + extra
    return (
        signature == b"PK\x03\x04"
        and bytes(content[start : start + name]) == record.orig_filename.encode()
        and record.compress_type == zipfile.ZIP_STORED
        and record.compress_size == record.file_size
        and data + record.file_size <= len(content)
        and zlib.crc32(content[data : data + record.file_size]) == record.CRC
    )
