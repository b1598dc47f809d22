import csv
from functools import cached_property
from pathlib import Path
from typing import Any

from typing_extensions import override

from lit_vision.data.sources.files import FileDataModule
from lit_vision.errors import UserError

_SPLITS = ("train", "val", "test")


class ImageTableDataModule(FileDataModule):
    """Images listed in a CSV file with the columns path, label and optionally split (train, val or test).

    Paths are relative to the CSV file. Without a split column, all images are for training, and val_size holds some out
    for validation. The classes are the labels of train, in alphabetical order.

    Args:
        root: Folder of the table; by default $LIT_VISION_DATA, or ./data if that is not set.
        table: CSV file, relative to root.
        kwargs: Options of ImageDataModule.
    """

    def __init__(self, root: str | Path | None = None, table: str | Path = "images.csv", **kwargs: Any) -> None:
        super().__init__(root=root, **kwargs)
        self.table = self.root / table

    @cached_property
    @override
    def class_names(self) -> list[str]:
        """The labels of train, sorted."""
        names = sorted({label for _, label, _ in self._rows.get("train", [])})
        if len(names) < 2:
            classes = f"one class, {names[0]!r}" if names else "no images"
            raise UserError(f"{self.table} has {classes} in train: list training images of two or more classes")
        return names

    @cached_property
    @override
    def split_names(self) -> list[str]:
        """Train, followed by val and test if the table has them."""
        return ["train", *(split for split in _SPLITS[1:] if split in self._rows)]

    @override
    def files(self, split: str) -> list[tuple[Path, int]]:
        """List the images of a split in the order of the table, each with the index of its class."""
        labels = {name: index for index, name in enumerate(self.class_names)}
        for _, label, line in self._rows[split]:
            if label not in labels:
                raise UserError(
                    f"{self.table} line {line} has a label that train lacks, {label!r}: add training images of it, or "
                    "remove the line"
                )
        return [(path, labels[label]) for path, label, _ in self._rows[split]]

    @cached_property
    def _rows(self) -> dict[str, list[tuple[Path, str, int]]]:
        """Path, label and line number of the images of each split."""
        if not self.table.is_file():
            raise UserError(
                f"there is no table {self.table}: set --data.root to its folder and --data.table to its name"
            )
        try:
            return self._read()
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{self.table} is not a CSV file in UTF-8 ({error}): save it as one") from error

    def _read(self) -> dict[str, list[tuple[Path, str, int]]]:
        rows: dict[str, list[tuple[Path, str, int]]] = {}
        with self.table.open(newline="", encoding="utf-8-sig") as file:  # may begin with a byte order mark
            reader = csv.DictReader(file)
            for column in ("path", "label"):
                if column not in (reader.fieldnames or ()):
                    raise UserError(
                        f"{self.table} has no column {column!r}: name the columns path and label in its first line"
                    )
            for row in reader:
                line = f"{self.table} line {reader.line_num}"
                if not row["path"] or not row["label"]:
                    raise UserError(f"{line} has no path or no label: complete or remove the line")
                path, split = self.table.parent / row["path"], row.get("split", "train")
                if split not in _SPLITS:
                    raise UserError(f"{line} has the unknown split {split!r}: use train, val or test")
                if not path.is_file():
                    raise UserError(f"{line} names {path}, which does not exist: correct or remove the line")
                rows.setdefault(split, []).append((path, row["label"], reader.line_num))
        return rows
