"""Image files to uint8 RGB tensors: the one place that decodes."""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2.functional import resize
from tqdm import tqdm

from lit_vision.errors import UserError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"})


_PROBE = 8  # images
_WORTH_A_THREAD = 0.002  # seconds


def list_images(folder: Path) -> list[Path]:
    """The image files below a folder in a fixed order; hidden files and folders are left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def read_image(path: Path, image_size: int | None = None) -> Tensor:
    """Decode one image file of any kind as upright RGB.

    Args:
        path: the file. Of an animation the first frame is taken; 16-bit grey is scaled to 8 bits.
        image_size: side in pixels to resize to (exactly square, bilinear, antialiased); None keeps the file's own.

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
        reason = "it is empty" if path.is_file() and path.stat().st_size == 0 else f"{error}".replace(repr(path), "it")
        raise UserError(f"cannot read the image {path} ({reason}): mend or remove that file") from error
    if image_size is not None and image.size != (image_size, image_size):
        image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        image.load()
        return image
    if image.mode.startswith("I"):  # 16 bits in 16 or 32; convert() would clip at 255 instead of scaling
        return image.convert("I").point(lambda value: value / 257).convert("L").convert("RGB")
    if "transparency" in image.info:  # of a palette: RGBA keeps the colours that a direct conversion warns about
        image = image.convert("RGBA")
    return image.convert("RGB")


def first_image_size(path: Path) -> int:
    """The side in pixels of a square image file, read from its header.

    Raises:
        UserError: the file is no image, or not square.
    """
    height, width = read_image(path).shape[1:]
    if height != width:
        raise UserError(f"{path} is {width}x{height} pixels, not square: set --data.image_size to resize all images")
    return height


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
        resize: bring images of another size to it; otherwise they are an error.
    """

    def __init__(self, paths: Sequence[Path], image_size: int, resize: bool) -> None:
        self.paths = paths
        self.image_size = image_size
        self.resize = resize

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        path = self.paths[index]
        image = read_image(path, self.image_size if self.resize else None)
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
    """

    def __init__(self, images: Tensor, image_size: int) -> None:
        self.images = images
        self.image_size = image_size

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return resize(self.images[index], [self.image_size, self.image_size], antialias=True)

    def subset(self, index: Tensor) -> "ResizedImages":
        """The images at these places."""
        return ResizedImages(self.images[index], self.image_size)


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
        if seconds < _WORTH_A_THREAD or num_workers == 1:
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
