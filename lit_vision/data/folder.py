from functools import cached_property
from pathlib import Path

import torch

from lit_vision.data.datamodule import ImageDataModule, LabelledImages
from lit_vision.data.images import ImageFiles, list_images, read_image
from lit_vision.errors import UserError


class ImageFolderDataModule(ImageDataModule):
    """Images sorted into folders, one folder for each class.

    Either root/train/CLASS/*, root/val/CLASS/* and perhaps root/test/CLASS/*, or root/CLASS/* with ``val_size``.
    The classes are those of train, in alphabetical order. The arguments are those of :class:`ImageDataModule`.
    """

    @cached_property
    def class_names(self) -> list[str]:
        """The names of the class folders of train."""
        folder = self._folder("train")
        names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        if len(names) < 2:
            found = f"one class, {names[0]!r}" if names else "no class folders"
            raise UserError(f"{folder} has {found}: it must hold a folder of images for each of two or more classes")
        return names

    @cached_property
    def split_names(self) -> list[str]:
        """Train, and those of val and test that are there."""
        if not self.root.is_dir():
            what = "is no folder" if self.root.exists() else "does not exist"
            raise UserError(f"{self.root} {what}: name the folder that holds the images with --data.root")
        return ["train", *(name for name in ("val", "test") if self._has_splits and (self.root / name).is_dir())]

    @cached_property
    def native_size(self) -> int:
        """Side in pixels of the first training image."""
        path = self._files("train", self.class_names[0])[0]
        height, width = read_image(path).shape[1:]
        if height != width:
            raise UserError(f"{path} is {width}x{height} pixels, not square: resize all with --data.image_size")
        return height

    def load(self, split: str) -> LabelledImages:
        """The files of a split, by class; they are read later."""
        names = self.class_names
        unknown = {path.name for path in self._folder(split).iterdir() if path.is_dir()} - set(names)
        if unknown := {name for name in unknown if not name.startswith(".")}:
            raise UserError(
                f"{self._folder(split)} has a class that train lacks, {min(unknown)!r}: add its training images or "
                "remove the folder"
            )
        paths: list[Path] = []
        labels: list[int] = []
        for label, name in enumerate(names):
            files = self._files(split, name)
            paths += files
            labels += [label] * len(files)
        images = ImageFiles(paths, self.image_size, resize=self._image_size is not None)
        return LabelledImages(images, torch.tensor(labels))

    @property
    def _has_splits(self) -> bool:
        return (self.root / "train").is_dir()

    def _folder(self, split: str) -> Path:
        assert split in self.split_names  # which says what is wrong with the root
        return self.root / split if self._has_splits else self.root

    def _files(self, split: str, name: str) -> list[Path]:
        folder = self._folder(split) / name
        files = list_images(folder)
        if not files:
            raise UserError(f"{folder} has no images: add some, or remove the class everywhere")
        return files
