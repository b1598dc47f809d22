"""Images that are decoded when they are used."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import torchvision
from torch import Tensor
from torchvision.transforms.v2 import functional as F
from typing_extensions import override

from lit_vision.data.decoding import DECODER, Decoding, Resize, check_image, read_image, resize_for, uncropped_size
from lit_vision.data.image_ids import all_status, are_few, file_ids, stamp, tensor_ids
from lit_vision.errors import UserError
from lit_vision.utils.text import printable


class LazyImages(ABC):
    """Images that are decoded or resized when they are asked for.

    Attributes:
        image_size: side in pixels of every image.
    """

    image_size: int

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Tensor:
        """Make one image, (3, image_size, image_size) uint8; called from several threads."""

    def check(self, index: int) -> None:
        """Find out whether an image can be made, if possible in less time; called from several threads.

        Raises:
            ImageError: it cannot.
            UserError: it does not have the size that all images must have.
        """
        self[index]

    def of_size(self, image_size: int) -> "LazyImages":
        """The same images in another size, unless they cannot be resized."""
        return self

    @abstractmethod
    def subset(self, index: Tensor) -> "LazyImages":
        """Select the images at these positions, (n,) int64."""

    @abstractmethod
    def ids(self) -> list[bytes]:
        """A name for each image by what it holds, see :mod:`lit_vision.data.image_ids`."""

    @property
    @abstractmethod
    def decoding(self) -> dict[str, str | int]:
        """What the pixels depend on besides the ids, in plain values."""

    def changed(self) -> list[str]:
        """Name the images that are not what they were when :meth:`ids` was called."""
        return []


class ImageFiles(LazyImages):
    """Images that stay in their files.

    Args:
        paths: the files.
        image_size: side in pixels of every image.
        resize: how images are resized, see :func:`read_image`; with None they are not, and an image of another size is
            an error.
        decoding: how large JPEG files are decoded, see :func:`read_image`.
        few: whether the files are so few that their content names them, which a subset inherits; by default, this is
            found out.
    """

    def __init__(
        self,
        paths: Sequence[Path | str],
        image_size: int,
        resize: Resize | None,
        decoding: Decoding = "reduced",
        few: bool | None = None,
    ) -> None:
        self.paths = paths
        self.image_size = image_size
        self.resize = resize
        self.jpeg_decoding = decoding
        self._few = few
        self._stamps: list[tuple[int, int] | None] = []

    def __len__(self) -> int:
        return len(self.paths)

    @override
    def __getitem__(self, index: int) -> Tensor:
        path = self.paths[index]
        image = read_image(path, self.image_size, self.resize, self.jpeg_decoding) if self.resize else read_image(path)
        self._check_size(path, *image.shape[1:])
        return image

    @override
    def check(self, index: int) -> None:
        path = self.paths[index]
        height, width = check_image(path)
        if self.resize is None:
            self._check_size(path, height, width)

    def _check_size(self, path: Path | str, height: int, width: int) -> None:
        if (height, width) != (self.image_size, self.image_size):
            raise UserError(
                f"{printable(str(path))} is {width}x{height} pixels, but others are "
                f"{self.image_size}x{self.image_size}: set --data.image_size to resize all images"
            )

    @override
    def of_size(self, image_size: int) -> "ImageFiles":
        resize = self.resize and resize_for(image_size, self.resize, self.image_size)
        return ImageFiles(self.paths, image_size, resize, self.jpeg_decoding, self._few) if resize else self

    @override
    def subset(self, index: Tensor) -> "ImageFiles":
        paths = [self.paths[i] for i in index.tolist()]
        return ImageFiles(paths, self.image_size, self.resize, self.jpeg_decoding, self._are_few())

    def _are_few(self) -> bool:
        if self._few is None:
            self._few = are_few(self.paths)
        return self._few

    @override
    def ids(self) -> list[bytes]:
        found = all_status(self.paths)
        self._stamps = [(status.st_size, status.st_mtime_ns) for status in found]
        return file_ids(self.paths, found, self._are_few())

    @property
    @override
    def decoding(self) -> dict[str, str | int]:
        return {**DECODER, "size": self.image_size, "resize": str(self.resize), "jpeg": self.jpeg_decoding}

    @override
    def changed(self) -> list[str]:
        return [
            printable(str(path)) for path, before in zip(self.paths, self._stamps, strict=True) if stamp(path) != before
        ]


class ResizedImages(LazyImages):
    """Images in memory that are resized each time they are asked for.

    Args:
        images: (N, 3, H, W) uint8.
        image_size: side in pixels of the resized images (bilinear, antialiased).
        resize: how images are resized, see :func:`read_image`.
    """

    def __init__(self, images: Tensor, image_size: int, resize: Resize) -> None:
        self.images = images
        self.image_size = image_size
        self.resize = resize

    def __len__(self) -> int:
        return len(self.images)

    @override
    def __getitem__(self, index: int) -> Tensor:
        side = uncropped_size(self.image_size, self.resize)
        return F.center_crop(F.resize(self.images[index], [side, side], antialias=True), [self.image_size])

    @override
    def check(self, index: int) -> None:
        """Do nothing: what is in memory was decoded already."""

    @override
    def of_size(self, image_size: int) -> "ResizedImages":
        return ResizedImages(self.images, image_size, resize_for(image_size, self.resize, self.image_size))

    @override
    def subset(self, index: Tensor) -> "ResizedImages":
        return ResizedImages(self.images[index], self.image_size, self.resize)

    @override
    def ids(self) -> list[bytes]:
        return tensor_ids(self.images)

    @property
    @override
    def decoding(self) -> dict[str, str | int]:
        return {"torchvision": torchvision.__version__, "size": self.image_size, "resize": str(self.resize)}
