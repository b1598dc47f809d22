"""Images that are decoded when they are used, and the pool of threads that decodes them ahead of use."""

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F
from tqdm import tqdm
from typing_extensions import override

from lit_vision.data.decoding import ImageError, Resize, check_image, read_image, resize_for, uncropped_size
from lit_vision.errors import UserError
from lit_vision.utils.text import printable

T = TypeVar("T")
R = TypeVar("R")

WORTH_A_THREAD = 0.002
"""Decoding time per image, in seconds, from which several threads are faster than one.

Pillow decodes outside the interpreter's lock, so threads pay off for large images; small ones spend their time inside
it.
"""
_NAMED = 3  # files that an error names
_TIMED = 8  # calls that are timed to decide on threads


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


class ImageFiles(LazyImages):
    """Images that stay in their files.

    Args:
        paths: the files.
        image_size: side in pixels of every image.
        resize: how images are resized, see :func:`read_image`; with None they are not, and an image of another size is
            an error.
    """

    def __init__(self, paths: Sequence[Path], image_size: int, resize: Resize | None) -> None:
        self.paths = paths
        self.image_size = image_size
        self.resize = resize

    def __len__(self) -> int:
        return len(self.paths)

    @override
    def __getitem__(self, index: int) -> Tensor:
        path = self.paths[index]
        image = read_image(path, self.image_size, self.resize) if self.resize else read_image(path)
        self._check_size(path, *image.shape[1:])
        return image

    @override
    def check(self, index: int) -> None:
        path = self.paths[index]
        height, width = check_image(path)
        if self.resize is None:
            self._check_size(path, height, width)

    def _check_size(self, path: Path, height: int, width: int) -> None:
        if (height, width) != (self.image_size, self.image_size):
            raise UserError(
                f"{printable(str(path))} is {width}x{height} pixels, but others are "
                f"{self.image_size}x{self.image_size}: set --data.image_size to resize all images"
            )

    @override
    def of_size(self, image_size: int) -> "ImageFiles":
        resize = self.resize and resize_for(image_size, self.resize, self.image_size)
        return ImageFiles(self.paths, image_size, resize) if resize else self

    @override
    def subset(self, index: Tensor) -> "ImageFiles":
        return ImageFiles([self.paths[i] for i in index.tolist()], self.image_size, self.resize)


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


def decode_ahead(
    decode: Callable[[T], R], items: Iterable[T], workers: int, ahead: int, overlap: bool = False
) -> Generator[R, None, None]:
    """Map a function over items, lazily and in order, in threads if they pay off.

    The first few calls are made and timed in the calling thread; their mean decides whether the others are made by
    ``workers`` threads (see :data:`WORTH_A_THREAD`). The threads end with the generator: after its last item, at an
    error of ``decode`` or at ``close()``. A caller that may stop early wraps it in :func:`contextlib.closing`.

    Args:
        decode: the function; called from several threads.
        items: arguments of ``decode``; at most ``ahead`` of them are taken before their result is asked for.
        workers: number of threads for slow calls; with 0, all calls are made in the calling thread.
        ahead: number of results that may wait for their use, at least 1.
        overlap: use one thread even for quick calls, for a caller that computes between two results.

    Yields:
        ``decode(item)`` for each item.
    """
    if workers == 0:
        yield from map(decode, items)
        return
    remaining = iter(items)
    seconds = []
    for item in islice(remaining, 1 + _TIMED):
        start = time.perf_counter()
        result = decode(item)
        seconds.append(time.perf_counter() - start)
        yield result
    timed = seconds[1:]  # the first call may import and open what the later ones find ready
    slow = sum(timed) >= WORTH_A_THREAD * len(timed)
    threads = workers if slow else 1
    if threads == 1 and not overlap:
        yield from map(decode, remaining)
        return
    pool = ThreadPoolExecutor(threads)
    pending: deque[Future[R]] = deque()
    try:
        pending.extend(pool.submit(decode, item) for item in islice(remaining, ahead))
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(decode, item) for item in islice(remaining, 1))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)  # an unreadable file ends the work at once


def decode_all(images: LazyImages, num_workers: int, progress: str | None = None) -> Tensor:
    """Decode every image into one tensor, (N, 3, image_size, image_size) uint8.

    Args:
        images: the images.
        num_workers: number of threads, if :func:`decode_ahead` finds that they pay off.
        progress: name of a progress bar on a terminal; None shows no bar.

    Raises:
        UserError: images cannot be read; the message names the first ones of all.
    """
    decoded = torch.empty((len(images), 3, images.image_size, images.image_size), dtype=torch.uint8)

    def decode(index: int) -> None:
        decoded[index] = images[index]

    _for_all(decode, len(images), num_workers, progress)
    return decoded


def check_all(images: LazyImages, num_workers: int, progress: str | None = None) -> None:
    """Find out whether every image can be made, without keeping any; arguments and errors as in :func:`decode_all`."""
    _for_all(images.check, len(images), num_workers, progress)


def _for_all(work: Callable[[int], None], count: int, num_workers: int, progress: str | None) -> None:
    """Do some work for each index, and raise one error for all images that cannot be read."""

    def attempt(index: int) -> ImageError | None:
        try:
            work(index)
        except ImageError as error:
            return error
        return None

    errors: list[ImageError] = []
    with (
        tqdm(total=count, desc=progress, unit=" images", leave=False, disable=None if progress else True) as bar,
        closing(decode_ahead(attempt, range(count), num_workers, ahead=32 * num_workers)) as done,
    ):
        for error in done:
            bar.update()
            if error is not None:
                errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        named = "; ".join(error.culprit for error in errors[:_NAMED])
        more = f"; and {len(errors) - _NAMED:,} more" if len(errors) > _NAMED else ""
        raise UserError(f"{named}{more}: repair or delete these {len(errors):,} files")
