"""A file of rows, each with a name and a checksum, that is read where it lies."""

import json
import warnings
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

try:
    from os import preadv
except ImportError:  # Windows
    preadv = None  # type: ignore[assignment]

_ID_SIZE = 16  # bytes
_CHUNK = 2**20  # bytes that are written at once


class DamagedError(Exception):
    """A file of rows, or a row in it, is not what was written.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path


class RowFile:
    """Rows of equal shape in a file, which is mapped into memory.

    The file holds four arrays in NumPy's format, one after the other: the rows, their ids, their checksums and a
    description in JSON. It is mapped, so all processes that use it share the system's copy of its pages.

    Args:
        path: the file, written by :func:`write_rows`.

    Attributes:
        path: the file.
        ids: the id of each row.
        checksums: (N,) uint32, the CRC-32 of each row.
        about: the description.

    Raises:
        DamagedError: the file is cut short, or something other than its rows was changed.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open(path, "rb")  # noqa: SIM115  # stays open for as long as rows are read
        try:
            version = np.lib.format.read_magic(self._file)
            if version != (1, 0):
                raise ValueError("another version")
            shape, _, dtype = np.lib.format.read_array_header_1_0(self._file)
            self._start = self._file.tell()
            self._file.seek(self._start + int(np.prod(shape)) * dtype.itemsize)
            ids, self.checksums, about = (np.load(self._file, allow_pickle=False) for _ in range(3))
            self.about: dict[str, Any] = json.loads(about.tobytes())
            self.ids = _split_ids(ids.tobytes())
            if self.about["crc"] != _crc_of_index(shape, dtype, ids, self.checksums):
                raise ValueError("another index")
        except OSError:
            self._file.close()
            raise
        except Exception as error:  # NumPy reads a header as Python, which may fail in a dozen ways
            self._file.close()
            raise DamagedError(path) from error
        self._row_shape = shape[1:]
        self._row_bytes = int(np.prod(self._row_shape)) * dtype.itemsize
        mapped = np.memmap(self._file, dtype, "r", self._start, shape) if shape[0] else np.empty(shape, dtype)
        self._bytes = memoryview(mapped.reshape(-1).view(np.uint8).data)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*not writable")  # nobody writes to it
            self.rows: Tensor = torch.from_numpy(mapped)
        """(N, ...) the rows, read-only, unchecked."""

    def is_sound(self, row: int) -> bool:
        """Tell whether a row has its checksum."""
        part = self._bytes[row * self._row_bytes : (row + 1) * self._row_bytes]
        return zlib.crc32(part) == self.checksums[row]

    def read(self, row: int) -> Tensor:
        """Read one row from the disk in a single request, and check it.

        Raises:
            DamagedError: the row is not what was written, or cannot be read.
        """
        start = row * self._row_bytes
        if preadv is None:
            buffer = bytearray(self._bytes[start : start + self._row_bytes])
        else:
            buffer = bytearray(self._row_bytes)
            try:
                preadv(self._file.fileno(), [buffer], self._start + start)
            except OSError as error:
                raise DamagedError(self.path) from error
        if zlib.crc32(buffer) != self.checksums[row]:
            raise DamagedError(self.path)
        return torch.frombuffer(buffer, dtype=self.rows.dtype).reshape(self._row_shape)


def write_rows(
    path: Path, ids: Sequence[bytes], rows: Iterable[Tensor], shape: Sequence[int], about: Mapping[str, Any]
) -> None:
    """Write a file of rows.

    Args:
        path: the file.
        ids: an id of 16 bytes for each row.
        rows: tensors on the CPU, all of one dtype and of the given shape; they are asked for one after the other.
        shape: shape of a row.
        about: description of the rows, in plain values.

    Raises:
        OSError: the file cannot be written, such as on a full disk.
    """
    checksums = np.zeros(len(ids), np.uint32)
    with open(path, "wb", buffering=_CHUNK) as file:
        dtype = np.dtype(np.uint8)
        for number, row in enumerate(rows):
            content = row.contiguous().numpy()
            if number == 0:
                dtype = content.dtype
                _write_header(file, (len(ids), *shape), dtype)
            checksums[number] = zlib.crc32(content.data)
            file.write(content.data)
        index = np.frombuffer(b"".join(ids), np.uint8)
        whole = (len(ids), *shape)
        text = json.dumps({**about, "crc": _crc_of_index(whole, dtype, index, checksums)}).encode()
        for array in (index, checksums, np.frombuffer(text, np.uint8)):
            np.save(file, array)


def _write_header(file: BinaryIO, shape: Sequence[int], dtype: np.dtype[Any]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(file, header)


def _crc_of_index(
    shape: Sequence[int], dtype: np.dtype[Any], ids: np.ndarray[Any, Any], checksums: np.ndarray[Any, Any]
) -> int:
    return zlib.crc32(checksums.tobytes(), zlib.crc32(ids.tobytes(), zlib.crc32(f"{tuple(shape)} {dtype}".encode())))


def _split_ids(joined: bytes) -> list[bytes]:
    return [joined[start : start + _ID_SIZE] for start in range(0, len(joined), _ID_SIZE)]
