"""A pool of threads that decodes images ahead of their use, and what decodes or checks all images of a split."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

from lit_vision.data.decoding import ImageError
from lit_vision.data.images import LazyImages
from lit_vision.errors import UserError
from lit_vision.utils.bars import progress_bar

T = TypeVar("T")
R = TypeVar("R")

WORTH_A_THREAD = 0.002
"""Decoding time per image, in seconds, from which several threads are faster than one.

Pillow decodes outside the interpreter's lock, so threads pay off for large images; small ones spend their time inside
it.
"""
_NAMED = 3  # files that an error names
_TIMED = 8  # calls that are timed to decide on threads


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

    for _ in _for_all(decode, len(images), num_workers, progress):
        pass
    return decoded


def decode_each(images: LazyImages, num_workers: int, progress: str | None = None) -> Iterator[Tensor]:
    """Decode every image, lazily and in order; arguments and errors as in :func:`decode_all`."""
    return _for_all(images.__getitem__, len(images), num_workers, progress)


def check_all(images: LazyImages, num_workers: int, progress: str | None = None) -> None:
    """Find out whether every image can be made, without keeping any; arguments and errors as in :func:`decode_all`."""
    for _ in _for_all(images.check, len(images), num_workers, progress):
        pass


def _for_all(work: Callable[[int], R], count: int, num_workers: int, progress: str | None) -> Iterator[R]:
    """Do some work for each index, yield what it gives, and raise one error for all images that cannot be read."""

    def attempt(index: int) -> R | ImageError:
        try:
            return work(index)
        except ImageError as error:
            return error

    errors: list[ImageError] = []
    with (
        progress_bar(progress, count, hidden=progress is None) as bar,
        closing(decode_ahead(attempt, range(count), num_workers, ahead=32 * num_workers)) as done,
    ):
        for result in done:
            bar.update()
            if isinstance(result, ImageError):
                errors.append(result)
            elif not errors:
                yield result
    if len(errors) == 1:
        raise errors[0]
    if errors:
        named = "; ".join(error.culprit for error in errors[:_NAMED])
        more = f"; and {len(errors) - _NAMED:,} more" if len(errors) > _NAMED else ""
        raise UserError(f"{named}{more}: repair or delete these {len(errors):,} files")
