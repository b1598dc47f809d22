"""Images that are left out of a data set, by a table of their names."""

import csv
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path

import torch

from lit_vision.data.batch import LabelledImages
from lit_vision.errors import UserError
from lit_vision.utils.text import from_cell, printable

_NAMES = ("image", "path")  # columns that may have the names
_MARK = "exclude"


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
            with self.table.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
                rows = csv.DictReader(file)
                column = next((name for name in _NAMES if name in (rows.fieldnames or ())), None)
                if column is None:
                    raise UserError(f"{self.table} has no column image: use a table that lit-vision check wrote")
                marked = [row for row in rows if row.get(_MARK) is None or row[_MARK].strip()]
        except OSError as error:
            raise UserError(f"{self.table} cannot be read ({error.strerror}): set --data.exclude to a table") from error
        except csv.Error as error:
            raise UserError(f"{self.table} is not a CSV file ({error}): set --data.exclude to a table") from error
        return frozenset(from_cell(row[column]) for row in marked if row[column])

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
