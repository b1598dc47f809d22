import csv
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from typing_extensions import override

from lit_vision.data.layout import split_of
from lit_vision.data.listing import LeftOut, identify
from lit_vision.data.sources.files import Entry, FileDataModule, Listing
from lit_vision.errors import UserError
from lit_vision.utils.text import printable

_SEPARATORS = ",;\t|"
_NAMED = 3  # lines that an error names
_REST = "."  # in the option splits: all lines that the other splits do not name


class _Row(NamedTuple):
    line: int
    path: str
    label: str
    split: str


class ImageTableDataModule(FileDataModule):
    """Images listed in a CSV file with the columns path, label and optionally split (train, val or test).

    Paths are relative to the CSV file. Images without a split are for training, and val_size holds some out for
    validation. Commas, semicolons, tabs or bars separate columns. The table is in UTF-8, or in UTF-16 with a byte order
    mark, as spreadsheets write it.

    Args:
        root: Folder of the table; by default $LIT_VISION_DATA, or ./data if that is not set.
        table: CSV file, relative to root.
        kwargs: Options of FileDataModule. With splits, its values are the words in the column split.
    """

    def __init__(self, root: str | Path | None = None, table: str | Path = "images.csv", **kwargs: Any) -> None:
        super().__init__(root=root, **kwargs)
        self.table = self.root / table

    @property
    @override
    def source(self) -> Path:
        return self.table

    @override
    def read_listing(self) -> Listing:
        if not self.table.is_file():
            raise UserError(
                f"there is no table {self._name}: set --data.root to its folder and --data.table to its name"
            )
        try:
            rows, has_splits = self._read()
        except (UnicodeError, csv.Error) as error:
            raise UserError(f"{self._name} is not a CSV file in UTF-8 ({error}): save it as one") from error
        self._check_splits(rows)
        splits: dict[str, list[Entry]] = {"train": [], "val": [], "test": []}
        left_out: list[LeftOut] = []
        missing: list[_Row] = []
        listed = set()
        for row in rows:
            split = self._split(row)
            if split is None:
                left_out.append(LeftOut(str(self.table.parent / row.path), f"lines of the split {row.split!r}"))
                continue
            path = self._find(row.path)
            if (file_id := identify(path)) is None:
                missing.append(row)
                continue
            place = f"{self._name} line {row.line}"
            key = os.path.normpath(row.path.replace("\\", "/"))
            entry = Entry(Path(path), printable(row.label), key, place, file_id)
            if (split, row.label, file_id) in listed:
                left_out.append(LeftOut(path, "lines that list an image again"))
                continue
            listed.add((split, row.label, file_id))
            splits[split].append(entry)
        if missing:
            named = [f"line {row.line} names {printable(row.path)}" for row in missing]
            raise UserError(
                f"{self._name} {_some(named)}, which does not exist as a file: correct or remove such lines"
            )
        found = {split: entries for split, entries in splits.items() if entries}
        return Listing(found, left_out, whole=not has_splits and self.splits is None)

    @property
    def _name(self) -> str:
        return printable(str(self.table))

    def _read(self) -> tuple[list[_Row], bool]:
        """Read the rows, and tell whether there is a column split."""
        lines = io.StringIO(_decode(self.table.read_bytes()), newline="")
        first, before = lines.readline(), 1
        marked = re.fullmatch(r"sep=(.)\s*", first)  # Excel's way to name the separator
        if marked:
            first, before = lines.readline(), 2
        separator = marked[1] if marked else _separator(first)
        header = _header(first, separator)
        for name in ("path", "label"):
            if header.count(name) != 1:
                found = ", ".join(map(printable, filter(None, header))) or "none"
                fault = "two columns" if name in header else "no column"
                raise UserError(
                    f"{self._name} has {fault} {name!r} (its columns: {found}): name the columns path and label in its "
                    "first line"
                )
        rows, wide, incomplete = [], [], []
        reader = csv.reader(lines, delimiter=separator)
        for cells in reader:
            values = [cell.strip() for cell in cells]
            if not any(values):
                continue
            line = reader.line_num + before
            row = dict(zip(header, values, strict=False))
            if any(values[len(header) :]):
                wide.append(f"line {line} has {len(values)} cells")
            elif not row.get("path") or not row.get("label"):
                incomplete.append(f"line {line} has no path or no label")
            else:
                rows.append(_Row(line, row["path"], row["label"], row.get("split", "")))
        if wide:
            raise UserError(
                f"{self._name} {_some(wide)} for {len(header)} columns: put quotes around cells with {separator!r}"
            )
        if incomplete:
            raise UserError(f"{self._name} {_some(incomplete)}: complete or remove such lines")
        return rows, "split" in header

    def _find(self, name: str) -> str:
        """The path of a file, which the table may write relative to itself and with the backslashes of Windows."""
        path = os.path.join(self.table.parent, name)
        return (
            path
            if "\\" not in name or os.path.exists(path)
            else os.path.join(self.table.parent, name.replace("\\", "/"))
        )

    def _split(self, row: _Row) -> str | None:
        """The split of a row; None for a split that the option ``splits`` does not name."""
        if self.splits is None:
            return split_of(row.split) if row.split else "train"
        words = {word.strip().lower(): split for split, word in self.splits.items()}
        unnamed = words.get(_REST, "train" if "train" in self.splits and not row.split else None)
        return words.get(row.split.lower(), unnamed)

    def _check_splits(self, rows: Sequence[_Row]) -> None:
        """Refuse words in the column split that stand for no split."""
        unknown = [row for row in rows if self.splits is None and row.split and split_of(row.split) is None]
        if unknown:
            word = printable(unknown[0].split)
            words = ", ".join(sorted({printable(row.split) for row in rows if row.split})[:10])
            raise UserError(
                f"{self._name} line {unknown[0].line} has the unknown split {word!r}: use train, val or test, or say "
                f"what the words mean ({words}), such as --data.splits '{{train: {word}}}'"
            )


def _decode(content: bytes) -> str:
    """Decode a table: UTF-8, or UTF-16 with a byte order mark, as Excel writes its Unicode text."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16")
    return content.decode("utf-8-sig")


def _header(line: str, separator: str) -> list[str]:
    return [cell.strip().lower() for cell in next(csv.reader([line], delimiter=separator), [])]


def _separator(line: str) -> str:
    """The separator of the header: the one that finds the columns, otherwise the most frequent one."""
    for separator in _SEPARATORS:
        if {"path", "label"} <= set(_header(line, separator)):
            return separator
    return max(_SEPARATORS, key=line.count)


def _some(faults: Sequence[str]) -> str:
    more = f" and {len(faults) - _NAMED:,} more like that" if len(faults) > _NAMED else ""
    return ", ".join(faults[:_NAMED]) + more
