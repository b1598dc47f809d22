from functools import cached_property
from pathlib import Path

from lit_vision.data.images import list_images
from lit_vision.data.sources.files import FileDataModule
from lit_vision.errors import UserError


class ImageFolderDataModule(FileDataModule):
    """Images sorted into folders, one folder for each class.

    Either root/train/CLASS/*, root/val/CLASS/* and perhaps root/test/CLASS/*, or root/CLASS/* with ``val_size``.
    The classes are those of train, in alphabetical order. The arguments are those of :class:`ImageDataModule`.
    """

    left_out: frozenset[str] = frozenset()
    """Names of files that are no images of the set."""

    @cached_property
    def class_names(self) -> list[str]:
        """The names of the class folders of train."""
        folder = self._folder("train")
        names = _folders_in(folder)
        if len(names) < 2:
            found = f"one class, {names[0]!r}" if names else "no class folders"
            raise UserError(f"{folder} has {found}: it must hold a folder of images for each of two or more classes")
        if not self._has_splits and (odd := {"val", "test"} & set(names)):
            raise UserError(
                f"{folder} has a folder {min(odd)} and none named train: add it, with a folder for each class"
            )
        return names

    @cached_property
    def split_names(self) -> list[str]:
        """Train, and those of val and test that are there."""
        if not self.root.is_dir():
            what = "is no folder" if self.root.exists() else "does not exist"
            raise UserError(f"{self.root} {what}: name the folder that holds the images with --data.root")
        return ["train", *(name for name in ("val", "test") if self._has_splits and (self.root / name).is_dir())]

    def files(self, split: str) -> list[tuple[Path, int]]:
        """The images of a split, by class."""
        names, folder = self.class_names, self._folder(split)
        if unknown := sorted(set(_folders_in(folder)) - set(names)):
            raise UserError(
                f"{folder} has a class that train lacks, {unknown[0]!r}: add its training images or remove the folder"
            )
        files: list[tuple[Path, int]] = []
        for label, name in enumerate(names):
            if not (folder / name).is_dir():  # a class that val or test happen to have no image of
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
        assert split in self.split_names  # which says what is wrong with the root
        return self.root / split if self._has_splits else self.root


def _folders_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
