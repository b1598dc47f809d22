"""Image files to uint8 RGB tensors: the one place that decodes."""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2 import functional as F
from tqdm import tqdm

from lit_vision.errors import UserError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"})


Resize = Literal["stretch", "center_crop"]

_PROBE = 8  # images
WORTH_A_THREAD = 0.002
"""Seconds of decoding an image from which threads are faster than one, which the interpreter's lock does not stop."""


def list_images(folder: Path) -> list[Path]:
    """The image files below a folder in a fixed order; hidden files and folders are left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def read_image(path: Path, image_size: int | None = None, resize: Resize = "stretch") -> Tensor:
    """Decode one image file of any kind as upright RGB.

    Args:
        path: the file. Of an animation the first frame is taken; 16-bit grey is scaled to 8 bits.
        image_size: side in pixels of the square to make (bilinear, antialiased); None keeps the file's own size.
        resize: exact stretches the whole image to the square; crop takes the middle of it, as torchvision's weights
            expect: the shorter side becomes 8/7 of ``image_size`` (256 for 224), what is over is cut off.

    Returns:
        (3, H, W) uint8.

    Raises:
        UserError: the file is empty, truncated or not an image.
    """
    try:
        with Image.open(BytesIO(path.read_bytes())) as opened:  # one read: Pillow's own are many, and small
            ImageOps.exif_transpose(opened, in_place=True)
            image = _to_rgb(opened)
    except Exception as error:  # Pillow's decoders raise a dozen kinds, struct.error and SyntaxError among them
        empty = path.is_file() and path.stat().st_size == 0
        unknown = "it is empty" if empty else "it is no image, or of a kind that Pillow does not know"
        reason = unknown if isinstance(error, UnidentifiedImageError) else error
        raise UserError(f"cannot read the image {path} ({reason}): mend or remove that file") from error
    if image_size is not None:
        image = _to_square(image, image_size, resize)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _to_square(image: Image.Image, side: int, resize: Resize) -> Image.Image:
    if resize == "center_crop":
        # the middle of what the resized image would be, as a box of the image itself: one resampling does both
        visible = min(image.size) * side / _uncropped(side)
        left, top = (image.width - visible) / 2, (image.height - visible) / 2
        return image.resize((side, side), Image.Resampling.BILINEAR, (left, top, left + visible, top + visible))
    return image if image.size == (side, side) else image.resize((side, side), Image.Resampling.BILINEAR)


def _uncropped(side: int) -> int:
    return round(side * 8 / 7)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        image.load()
        return image
    if image.mode.startswith("I"):  # 16 bits in 16 or 32; convert() would clip at 255 instead of scaling
        return image.convert("I").point(lambda value: value / 257).convert("L").convert("RGB")
    if "transparency" in image.info:  # of a palette: RGBA keeps the colours that a direct conversion warns about
        image = image.convert("RGBA")
    return image.convert("RGB")


class LazyImages(ABC):
    """Images that are made when they are asked for; what :func:`decode_all` turns into one tensor."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Tensor:
        """One image: (3, H, W) uint8; called from several threads."""

    @abstractmethod
    def subset(self, index: Tensor) -> "LazyImages":
        """The images at these places, (n,) int64."""


class ImageFiles(LazyImages):
    """Images that stay in their files.

    Args:
        paths: the files.
        image_size: the side in pixels that each image gets.
        resize: how, as for :func:`read_image`; None for not at all, then another size is an error.
    """

    def __init__(self, paths: Sequence[Path], image_size: int, resize: Resize | None) -> None:
        self.paths = paths
        self.image_size = image_size
        self.resize = resize

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        path = self.paths[index]
        image = read_image(path, self.image_size, self.resize) if self.resize else read_image(path)
        height, width = image.shape[1:]
        if (height, width) != (self.image_size, self.image_size):
            raise UserError(
                f"{path} is {width}x{height} pixels, others are {self.image_size}x{self.image_size}: "
                "set --data.image_size to resize all images"
            )
        return image

    def subset(self, index: Tensor) -> "ImageFiles":
        """The images at these places."""
        return ImageFiles([self.paths[i] for i in index.tolist()], self.image_size, self.resize)


class ResizedImages(LazyImages):
    """Images in memory that are resized at each use, for when all of them at the new size would not fit.

    Args:
        images: (N, 3, H, W) uint8.
        image_size: the side in pixels to resize to (bilinear, antialiased).
        resize: how, as for :func:`read_image`.
    """

    def __init__(self, images: Tensor, image_size: int, resize: Resize) -> None:
        self.images = images
        self.image_size = image_size
        self.resize = resize

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        side = _uncropped(self.image_size) if self.resize == "center_crop" else self.image_size
        return F.center_crop(F.resize(self.images[index], [side, side], antialias=True), [self.image_size])

    def subset(self, index: Tensor) -> "ResizedImages":
        """The images at these places."""
        return ResizedImages(self.images[index], self.image_size, self.resize)


def decode_all(images: LazyImages, num_workers: int, progress: str | None = None) -> Tensor:
    """Every image at once: (N, 3, H, W) uint8.

    Args:
        images: what decodes when it is asked for.
        num_workers: threads. Pillow decodes outside of the interpreter's lock, which helps with large images; small
            ones spend their time inside it and are faster in one thread, so a first few decide.
        progress: name of a progress bar on a terminal, None for none.
    """
    first = images[0]
    decoded = torch.empty((len(images), *first.shape), dtype=torch.uint8)

    def decode(index: int) -> None:
        decoded[index] = images[index]

    with tqdm(total=len(images), desc=progress, unit=" images", leave=False, disable=None if progress else True) as bar:
        start = time.perf_counter()
        probe = range(min(_PROBE, len(images)))
        for index in probe:
            decode(index)
        seconds = (time.perf_counter() - start) / len(probe)
        if seconds < WORTH_A_THREAD or num_workers == 1:
            for index in range(len(probe), len(images)):
                decode(index)
                bar.update()
            return decoded
        pool = ThreadPoolExecutor(num_workers)
        try:
            for _ in pool.map(decode, range(len(probe), len(images))):
                bar.update()
        finally:
            pool.shutdown(cancel_futures=True)  # the first unreadable file ends it, not the last
    return decoded
