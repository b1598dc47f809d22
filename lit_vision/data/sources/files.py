from abc import abstractmethod
from functools import cached_property
from pathlib import Path

import torch
from typing_extensions import override

from lit_vision.data.batch import LabelledImages
from lit_vision.data.datamodule import ImageDataModule
from lit_vision.data.decoding import read_image
from lit_vision.data.images import ImageFiles
from lit_vision.errors import UserError


class FileDataModule(ImageDataModule):
    """A data module whose images are files: a subclass lists the files and labels of each split."""

    @abstractmethod
    def files(self, split: str) -> list[tuple[Path, int]]:
        """List the image files of a split, each with the index of its class."""

    @cached_property
    @override
    def native_size(self) -> int:
        """Side in pixels of the first training image."""
        path = self.files("train")[0][0]
        height, width = read_image(path).shape[1:]
        if height != width:
            raise UserError(
                f"{path} is {width}x{height} pixels, not square: set --data.image_size to resize all images"
            )
        return height

    @override
    def load(self, split: str) -> LabelledImages:
        paths, labels = zip(*self.files(split), strict=True)
        return LabelledImages(
            ImageFiles(paths, self.image_size, self.resize if self._image_size else None), torch.tensor(labels)
        )
