"""Images that are left out of a data set, by a table of their names."""

import csv
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import torch

from lit_vision.data.batch import LabelledImages
from lit_vision.errors import UserError
from lit_vision.utils.text import from_cell, printable

_NAME, _MARK = "image", "exclude"  # columns
_YES, _NO = ("x", "1", "yes", "true"), ("", "0", "no", "false")
_SEPARATORS = ",;\t|"


class Exclude:
    """Which images are left out.

    Args:
        table: CSV file with a column image; with a column exclude, those lines in which that is empty do not count.
            None leaves out nothing.
    """

    def __init__(self, table: str | Path | None) -> None:
        self.table = None if table is None else Path(table).expanduser()

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of the images.

        Raises:
            UserError: the table is missing, or is not one.
        """
        if self.table is None:
            return frozenset()
        try:
            content = self.table.read_bytes()
        except OSError as error:
            raise UserError(f"{self.table} cannot be read ({error.strerror}): set --data.exclude to a table") from error
        encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        lines = content.decode(encoding, "surrogateescape").splitlines()
        first = lines[0] if lines else ""
        rows = list(csv.reader(lines, delimiter=max(_SEPARATORS, key=first.count)))
        header = [name.strip().lower() for name in rows[0]] if rows else []
        if _NAME not in header:
            raise UserError(f"{self.table} has no column image: use a table that lit-vision check wrote")
        named = [dict(zip(header, row, strict=False)) for row in rows[1:]]
        marked = [row for row in named if row.get(_NAME) and (_MARK not in header or self._is_marked(row))]
        return frozenset(from_cell(row[_NAME]) for row in marked)

    def _is_marked(self, row: Mapping[str, str]) -> bool:
        mark = row.get(_MARK, "").strip().lower()
        if mark not in (*_YES, *_NO):
            raise UserError(f"{self.table} has {mark!r} in the column exclude of {row[_NAME]}: use x, or nothing")
        return mark in _YES

    def check_known(self, known: Collection[str]) -> None:
        """Check that every name is that of an image.

        Args:
            known: the names of all images.

        Raises:
            UserError: one is not.
        """
        if unknown := sorted(self.names - frozenset(known)):
            more = f" and {len(unknown) - 3:,} more" if len(unknown) > 3 else ""
            raise UserError(
                f"{self.table} names images that the data does not have: "
                f"{', '.join(printable(name) for name in unknown[:3])}{more}: correct --data.exclude"
            )

    def drop(self, images: LabelledImages, names: Sequence[str]) -> LabelledImages:
        """Leave out those of the images, with one name each, that are excluded."""
        keep = torch.tensor([name not in self.names for name in names])
        return images if keep.all() else images.subset(keep.nonzero().flatten())
