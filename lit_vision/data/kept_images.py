"""Images that are decoded once, by this run or an earlier one, and then taken from memory or from the disk cache."""

import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from threading import Lock

import torch
from torch import Tensor
from typing_extensions import override

from lit_vision.data.cached_rows import CachedRows
from lit_vision.data.decode_ahead import check_all, decode_all, decode_each
from lit_vision.data.disk_cache import DiskCache, Kind
from lit_vision.data.images import LazyImages
from lit_vision.data.row_file import DamagedError
from lit_vision.utils.log import log_info
from lit_vision.utils.memory import memory_budget

_WORTH_A_FILE = 2.0  # seconds of decoding, of all splits together


class _ChangedError(Exception):
    """Images changed while they were read."""


class Keeping:
    """What decides where decoded images are kept.

    Args:
        cache: the cache on disk.
        budget: memory for the images of a split that are in no file, in GiB; None for a share of what is free.
        num_workers: number of threads that decode.
        processes: number of processes on this machine that use the same images.
    """

    def __init__(self, cache: DiskCache, budget: float | None, num_workers: int, processes: int) -> None:
        self.cache = cache
        self.budget = memory_budget(processes) if budget is None else budget * 2**30
        self.num_workers = num_workers
        self.processes = processes
        self.seconds = 0.0
        """Time that was spent on decoding splits which fit into memory."""


class KeptImages(LazyImages):
    """Images that are decoded all at once when a batch of them is first needed, and no more than once.

    Args:
        source: the images, as they are decoded.
        split: name of the split, for messages.
        place: where they come from, for the list of the cache's files.
        keeping: where they are kept.
    """

    def __init__(self, source: LazyImages, split: str, place: str, keeping: Keeping) -> None:
        self.source = source
        self.image_size = source.image_size
        self._split = split
        self._place = place
        self._keeping = keeping
        self._rows: Tensor | CachedRows | None = None
        self._on_disk: CachedRows | None = None  # more than the memory holds
        self._checksums: Tensor | None = None
        self._ready = False
        self._making = Lock()

    def __len__(self) -> int:
        return len(self.source)

    @override
    def __getitem__(self, index: int) -> Tensor:
        if self._rows is not None:
            return self._rows.index_select(0, torch.tensor([index]))[0]
        if self._on_disk is not None:
            try:
                return self._on_disk.read(index)
            except DamagedError as error:
                self._keeping.cache.remove_damaged(error.path)
        return self.source[index]

    @override
    def subset(self, index: Tensor) -> LazyImages:
        return self.source.subset(index)

    @property
    def nbytes(self) -> int:
        """Bytes of all decoded images."""
        return len(self) * 3 * self.image_size**2

    @override
    def ids(self) -> list[bytes]:
        return self._ids

    @cached_property
    def _ids(self) -> list[bytes]:
        return self.source.ids()

    @property
    @override
    def decoding(self) -> dict[str, str | int]:
        return self.source.decoding

    @override
    def check(self, index: int) -> None:
        self.source.check(index)

    def check_readable(self) -> None:
        """Decode the images, unless an earlier run has decoded every one of them.

        Raises:
            UserError: images cannot be read; the message names them.
        """
        found, missing = self._keeping.cache.find(self._kind, self._ids, check=False)
        if not missing:
            self._use(found)
            return
        known, missing = self._keeping.cache.find(self._kind_of_checksums, self._ids)
        if missing:
            self.rows()
        else:
            self._checksums = known.whole()

    def checksums(self) -> Tensor | None:
        """(N,) int64, the CRC-32 of the pixels of each image; None if they are decoded anew at each use."""
        if self._checksums is None:
            rows = self.rows()
            if isinstance(rows, Tensor):
                self._checksums = _checksums_of(rows)
            elif (found := rows or self._on_disk) is not None:
                self._checksums = found.checksums
        return self._checksums

    def rows(self) -> Tensor | CachedRows | None:
        """Decode the images if nothing has done so.

        Returns:
            (N, 3, image_size, image_size) uint8, in memory or in files of the cache; None if they are too many for the
            memory, so that they are taken one by one.

        Raises:
            UserError: as in :meth:`check_readable`.
        """
        with self._making:
            if not self._ready:
                self._find_or_decode()
                self._ready = True
        return self._rows

    @property
    def _kind(self) -> Kind:
        return Kind("images", self.decoding)

    @property
    def _kind_of_checksums(self) -> Kind:
        return Kind("checksums", self.decoding)

    def _use(self, found: CachedRows) -> None:
        if found.checked:
            self._rows = found
        else:  # they are too many for the memory
            self._on_disk = found
        self._ready = True

    def _find_or_decode(self) -> None:
        cache, source = self._keeping.cache, self.source
        found, missing = cache.find(self._kind, self._ids, check=False)
        if missing:
            with cache.alone(self._kind):
                found, missing = cache.find(self._kind, self._ids, check=False)
                if missing:
                    new = [self._ids[position] for position in missing]
                    if self._decode(source.subset(torch.tensor(missing)), new, found):
                        return
                    found, missing = cache.find(self._kind, self._ids, check=False)
        if not missing:  # otherwise they fit neither into memory nor on the disk
            self._use(found)

    def _decode(self, images: LazyImages, ids: Sequence[bytes], found: CachedRows) -> bool:
        """Decode the images that are missing; return True if they are in memory, and in no file."""
        keeping, cache, progress = self._keeping, self._keeping.cache, f"decoding {self._split}"
        row = torch.empty(3, self.image_size, self.image_size, dtype=torch.uint8)
        in_memory = self.nbytes <= keeping.budget
        if not in_memory:
            if cache.folder is not None:
                made = self._unless_changed(decode_each(images, keeping.num_workers, progress))
                with suppress(_ChangedError):
                    if cache.add(self._kind, ids, made, row, self._place):
                        return False
            amount = f"{len(self)} images exceed the memory budget of {keeping.budget / 2**30:.3g} GiB"
            log_info(f"{self._split}: {amount} (--data.memory_budget), so they are decoded batch by batch")
            check_all(images, keeping.num_workers, progress=f"checking {self._split}")
            return False
        start = time.monotonic()
        decoded = decode_all(images, keeping.num_workers, progress)
        keeping.seconds += time.monotonic() - start
        worth = keeping.seconds >= _WORTH_A_FILE or keeping.processes > 1 or len(found)
        changed = self._say_what_changed()
        if not changed and worth and cache.add(self._kind, ids, decoded, row, self._place):
            return False
        if len(found) and not found.checked:
            decoded = decode_all(self.source, keeping.num_workers, progress)
        elif len(found):
            whole = torch.empty(len(self), *row.shape, dtype=torch.uint8)
            known = set(ids)
            is_new = torch.tensor([image in known for image in self._ids])
            whole[~is_new], whole[is_new] = found.whole(), decoded
            decoded = whole
        self._rows = decoded
        if not changed:
            self._checksums = checksums = _checksums_of(decoded)
            with cache.alone(self._kind_of_checksums):
                cache.add(self._kind_of_checksums, self._ids, checksums, checksums[0], self._place)
        return True

    def _unless_changed(self, made: Iterator[Tensor]) -> Iterator[Tensor]:
        """Raise an error at the end if an image changed meanwhile."""
        yield from made
        if self._say_what_changed():
            raise _ChangedError

    def _say_what_changed(self) -> bool:
        changed = self.source.changed()
        if changed:
            named = ", ".join(changed[:3])
            log_info(f"{named}{' and others' if len(changed) > 3 else ''} changed while this run read the images")
        return bool(changed)


def _checksums_of(images: Tensor) -> Tensor:
    return torch.tensor([zlib.crc32(image.numpy().data) for image in images])
