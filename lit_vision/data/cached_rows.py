"""Rows of the disk cache for the images of a split, wherever they lie."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from lit_vision.data.row_file import RowFile


class CachedRows:
    """Rows for the images of a split, which may be in several files, in the order of the split.

    Like a tensor, it has ``len``, ``index_select`` and ``to``, which do not check the rows.

    Attributes:
        checked: whether all rows were checked, and are what was written.

    Args:
        files: the files.
        where: (N, 2) int64, for each image the number of a file and the row in it.
    """

    def __init__(self, files: Sequence[RowFile], where: Tensor) -> None:
        self.checked = False
        self._files = files
        self._where = where
        self._only = int(where[0, 0]) if len(where) and bool((where[:, 0] == where[0, 0]).all()) else None

    def __len__(self) -> int:
        return len(self._where)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return len(self) * self._files[0].rows[0].nbytes if len(self) else 0

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """Copy the rows at these positions, (n,) int64, into memory; ``dim`` is 0."""
        where = self._where.index_select(dim, index)
        if self._only is not None:
            return self._files[self._only].rows.index_select(0, where[:, 1])
        found = self._files[0].rows.new_empty(len(index), *self._files[0].rows.shape[1:])
        for number in where[:, 0].unique().tolist():
            chosen = where[:, 0] == number
            found[chosen] = self._files[number].rows.index_select(0, where[chosen, 1])
        return found

    def to(self, device: torch.device) -> "CachedRows | Tensor":
        """Stay where they are for the CPU; copy all rows to another device."""
        return self if device.type == "cpu" else self.whole().to(device)

    def whole(self) -> Tensor:
        """Copy all rows into memory."""
        return self.index_select(0, torch.arange(len(self)))

    def read(self, position: int) -> Tensor:
        """Read one row from the disk and check it, see :meth:`RowFile.read`."""
        number, row = self._where[position].tolist()
        return self._files[number].read(row)

    @property
    def checksums(self) -> Tensor:
        """(N,) int64, the CRC-32 of each row."""
        found = torch.empty(len(self), dtype=torch.int64)
        for number in self._where[:, 0].unique().tolist():
            chosen = self._where[:, 0] == number
            found[chosen] = torch.from_numpy(self._files[number].checksums.astype("int64"))[self._where[chosen, 1]]
        return found

    def check(self) -> set[Path]:
        """Check every row, and return the files of those that are not what was written."""
        damaged = {
            self._files[number].path for number, row in self._where.tolist() if not self._files[number].is_sound(row)
        }
        self.checked = not damaged
        return damaged
