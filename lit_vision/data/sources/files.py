from abc import abstractmethod
from functools import cached_property
from pathlib import Path

import torch

from lit_vision.data.datamodule import ImageDataModule, LabelledImages
from lit_vision.data.images import ImageFiles, read_image
from lit_vision.errors import UserError


class FileDataModule(ImageDataModule):
    """A source whose images are files: a subclass says which files a split has, and their labels."""

    @abstractmethod
    def files(self, split: str) -> list[tuple[Path, int]]:
        """The images of a split, each with the index of its class."""

    @cached_property
    def native_size(self) -> int:
        """Side in pixels of the first training image."""
        path = self.files("train")[0][0]
        height, width = read_image(path).shape[1:]
        if height != width:
            raise UserError(f"{path} is {width}x{height} pixels, not square: resize all with --data.image_size")
        return height

    def load(self, split: str) -> LabelledImages:
        """The files of a split; they are decoded later."""
        paths, labels = zip(*self.files(split), strict=True)
        return LabelledImages(
            ImageFiles(paths, self.image_size, self.resize if self._image_size else None), torch.tensor(labels)
        )
