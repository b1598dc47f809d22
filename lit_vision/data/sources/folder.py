from functools import cached_property
from pathlib import Path

from typing_extensions import override

from lit_vision.data.decoding import list_images
from lit_vision.data.sources.files import FileDataModule
from lit_vision.errors import UserError


class ImageFolderDataModule(FileDataModule):
    """Images sorted into folders, one folder for each class.

    The images are either in root/train/CLASS/*, root/val/CLASS/* and optionally root/test/CLASS/*, or in root/CLASS/*,
    from which val_size holds some out for validation. The classes are those of train, in alphabetical order. The
    options are those of ImageDataModule.
    """

    left_out: frozenset[str] = frozenset()
    """Names of files to leave out, because they do not belong to the data set."""

    @cached_property
    @override
    def class_names(self) -> list[str]:
        """The names of the class folders of train."""
        folder = self._folder("train")
        names = _folders_in(folder)
        if len(names) < 2:
            classes = f"one class, {names[0]!r}" if names else "no class folders"
            raise UserError(f"{folder} has {classes}: add a folder of images for each of two or more classes")
        if not self._has_splits and (odd := {"val", "test"} & set(names)):
            raise UserError(
                f"{folder} has a folder {min(odd)} but none named train: add one, with a folder of images for each "
                "class"
            )
        return names

    @cached_property
    @override
    def split_names(self) -> list[str]:
        """Train, followed by val and test if their folders exist."""
        if not self.root.is_dir():
            problem = "is not a folder" if self.root.exists() else "does not exist"
            raise UserError(f"{self.root} {problem}: set --data.root to the folder of the images")
        return ["train", *(name for name in ("val", "test") if self._has_splits and (self.root / name).is_dir())]

    @override
    def files(self, split: str) -> list[tuple[Path, int]]:
        """List the images of a split, sorted by class."""
        names, folder = self.class_names, self._folder(split)
        if unknown := sorted(set(_folders_in(folder)) - set(names)):
            raise UserError(
                f"{folder} has a class that train lacks, {unknown[0]!r}: add training images of it, or remove its "
                "folder"
            )
        files: list[tuple[Path, int]] = []
        for label, name in enumerate(names):
            if not (folder / name).is_dir():  # val and test may have no image of a class
                continue
            paths = [path for path in list_images(folder / name) if path.name not in self.left_out]
            if not paths:
                raise UserError(f"{folder / name} has no images: add some, or remove the class everywhere")
            files += [(path, label) for path in paths]
        if not files:
            raise UserError(f"{folder} has no images of the classes of train: add some, or remove the folder")
        return files

    @property
    def _has_splits(self) -> bool:
        return (self.root / "train").is_dir()

    def _folder(self, split: str) -> Path:
        assert split in self.split_names  # split_names raises an error if the root is not a folder
        return self.root / split if self._has_splits else self.root


def _folders_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
