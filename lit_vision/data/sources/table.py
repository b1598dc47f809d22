import csv
import io
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from typing_extensions import override

from lit_vision.data.layout import SPLITS, split_of
from lit_vision.data.listing import LeftOut, identify
from lit_vision.data.sources.files import Entry, FileDataModule, Listing
from lit_vision.errors import UserError
from lit_vision.utils.bars import progress_bar
from lit_vision.utils.text import class_name, printable

_COLUMNS = ("path", "label", "split")
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
        self._check_splits(rows, has_splits)
        splits: dict[str, list[Entry]] = {"train": [], "val": [], "test": []}
        left_out: list[LeftOut] = []
        missing: list[_Row] = []
        listed = set()
        for row in progress_bar(f"listing {self._name}", items=rows, delay=1):
            split = self._split(row)
            if split is None:
                left_out.append(LeftOut(str(self.table.parent / row.path), f"lines of the split {row.split!r}"))
                continue
            path, label = self._find(row.path), class_name(row.label)
            if (file_id := identify(path)) is None:
                missing.append(row)
                continue
            if (split, label, file_id) in listed:
                left_out.append(LeftOut(path, "lines that list an image again"))
                continue
            listed.add((split, label, file_id))
            key = os.path.normpath(row.path.replace("\\", "/"))
            splits[split].append(Entry(path, label, key, f"{self._name} line {row.line}", file_id))
        if missing:
            named = [f"line {row.line} names {printable(row.path)}" for row in missing]
            raise UserError(
                f"{self._name} {_some(named)}, which does not exist as a file: correct or remove such lines"
            )
        found = {split: entries for split, entries in splits.items() if entries}
        return Listing(found, left_out, whole=not has_splits and self.splits is None)

    @cached_property
    def _name(self) -> str:
        return printable(str(self.table))

    def _read(self) -> tuple[list[_Row], bool]:
        """Read the rows, and tell whether there is a column split."""
        header: list[str] | None = None
        rows, wide, incomplete = [], [], []
        for line, cells, separator in self._records():
            values = [cell.strip() for cell in cells]
            if not any(values):
                continue
            if header is None:
                header = self._check_header([value.lower() for value in values])
                continue
            row = dict(zip(header, values, strict=False))
            named = sum(1 for name in header if name)
            if any(value for name, value in zip_longest(header, values, fillvalue="") if not name):
                wide.append(f"line {line} has {len(values)} cells for {named} columns: put quotes around {separator!r}")
            elif not row.get("path") or not row.get("label"):
                incomplete.append(f"line {line} has no path or no label")
            else:
                rows.append(_Row(line, row["path"], row["label"], row.get("split", "")))
        if header is None:
            self._check_header([])
        if wide:
            raise UserError(f"{self._name} {_some(wide)}")
        if incomplete:
            raise UserError(f"{self._name} {_some(incomplete)}: complete or remove such lines")
        return rows, header is not None and "split" in header

    def _records(self) -> Iterator[tuple[int, list[str], str]]:
        """The cells of each record, the line that it begins in, and the separator."""
        lines = io.StringIO(_decode(self.table.read_bytes()), newline="").readlines()
        before = next((number for number, line in enumerate(lines) if line.strip(f"{_SEPARATORS} \r\n")), len(lines))
        first = lines[before] if before < len(lines) else ""
        if marked := re.fullmatch(r'"?sep=([^"])"?\s*', first, re.IGNORECASE):  # Excel's way to name the separator
            before += 1
        separator = marked[1] if marked else _separator(first)
        reader = csv.reader(lines[before:], delimiter=separator, strict=True, skipinitialspace=True)
        while True:
            line = before + reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise UserError(f"{self._name} line {line} is not closed ({error}): correct its quotes") from error
            yield line, cells, separator

    def _check_header(self, header: list[str]) -> list[str]:
        found = ", ".join(map(printable, filter(None, header))) or "none"
        for name in _COLUMNS:
            if header.count(name) > 1 or (name not in header and name != "split"):
                fault = "two columns" if name in header else "no column"
                raise UserError(
                    f"{self._name} has {fault} {name!r} (its columns: {found}): name the columns path and label in its "
                    "first line"
                )
        return header

    def _find(self, name: str) -> str:
        """The path of a file, which the table may write relative to itself and with the backslashes of Windows.

        An accent may be composed in the table and not in the file's name, or the other way round.
        """
        slashes = name.replace("\\", "/")
        forms = [name, slashes, *(unicodedata.normalize(form, slashes) for form in ("NFC", "NFD"))]
        paths = [os.path.join(self.table.parent, form) for form in dict.fromkeys(forms)]
        return next((path for path in paths if len(paths) == 1 or os.path.exists(path)), paths[0])

    @cached_property
    def _words(self) -> dict[str, str]:
        """The words of the option ``splits`` in lower case, each with its split."""
        return {word.strip().lower(): split for split, word in (self.splits or {}).items()}

    def _split(self, row: _Row) -> str | None:
        """The split of a row; None for a split that the option ``splits`` does not name."""
        if self.splits is None:
            return split_of(row.split) if row.split else "train"
        unnamed = self._words.get(_REST, "train" if "train" in self.splits and not row.split else None)
        return self._words.get(row.split.lower(), unnamed)

    def _check_splits(self, rows: Sequence[_Row], has_column: bool) -> None:
        """Refuse words in the column split that stand for no split, and words of the option that no row has."""
        words = sorted({printable(row.split) for row in rows if row.split})
        if self.splits is not None:
            named = self._words.keys() - {_REST}
            if len(self._words) < len(self.splits):
                raise UserError("splits has one word for two splits: give each its own in --data.splits")
            if named and not has_column:
                raise UserError(
                    f"{self._name} has no column 'split' for --data.splits: add one, or leave the option out"
                )
            absent = sorted(named - {word.lower() for word in words})
            if absent and (self.classes is None or len(absent) == len(named)):  # one split is enough to evaluate
                raise UserError(
                    f"{self._name} has no line of the split {absent[0]!r}: use {', '.join(words[:10])} in --data.splits"
                )
            return
        unknown = [row for row in rows if row.split and split_of(row.split) is None]
        if unknown:
            word = printable(unknown[0].split)
            meant = {split_of(known): known for known in words if split_of(known)}
            meant.setdefault(next((split for split in SPLITS if split not in meant), "test"), word)
            example = ", ".join(f"{split}: {meant[split]}" for split in SPLITS if split in meant)
            raise UserError(
                f"{self._name} line {unknown[0].line} has the unknown split {word!r}: use train, val or test, or say "
                f"what the words mean ({', '.join(words[:10])}), such as --data.splits '{{{example}}}'"
            )


def _decode(content: bytes) -> str:
    """Decode a table: UTF-8, or UTF-16 with a byte order mark, as Excel writes its Unicode text."""
    is_utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    if "\0" in text:  # UTF-16 without the mark, UTF-32, or no text at all
        raise UnicodeError("it holds NUL characters")
    return text


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
