"""What was decoded or computed once, in files that all runs and processes of a machine share."""

import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs
import torch
from torch import Tensor

from lit_vision.data.cached_rows import CachedRows
from lit_vision.data.row_file import DamagedError, RowFile, write_rows
from lit_vision.utils.files import lock_file
from lit_vision.utils.log import log_info
from lit_vision.utils.memory import available_memory
from lit_vision.utils.text import printable

_SUFFIX = ".rows"
_SHARE = 0.5  # of the disk's free space, including what the cache already uses


class Kind(NamedTuple):
    """What rows are, and what they depend on besides the images that they were made from.

    Attributes:
        name: images, checksums, features, or errors, which are those of features in bfloat16.
        made_with: plain values, such as the size of images or a hash of weights.
    """

    name: str
    made_with: Mapping[str, Any]

    @property
    def folder(self) -> str:
        """Name of a folder that holds this kind alone."""
        text = json.dumps(self.made_with, sort_keys=True)
        return f"{self.name}-{blake2b(text.encode(), digest_size=8).hexdigest()}"


class DiskCache:
    """Rows of images, kept in a folder by the ids of the images.

    Files are written whole or not at all, and never changed. A damaged one is removed and made again. The folder uses
    at most half of the free space of its disk; the least recently used files are removed first. Where the folder cannot
    be read or written, a line says so, and nothing is kept from then on.

    Args:
        folder: the folder; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._damaged: set[Path] = set()

    def find(self, kind: Kind, ids: Sequence[bytes], check: bool = True) -> tuple[CachedRows, list[int]]:
        """Find rows.

        Args:
            kind: what is wanted.
            ids: an id of 16 bytes for each image.
            check: check all rows, which is done in any case if they fit into memory; otherwise :meth:`CachedRows.read`
                checks each one.

        Returns:
            The rows that were found, and the positions of the ids that were not.
        """
        files: list[RowFile] = []
        places: dict[bytes, tuple[int, int]] = {}
        for path in self._paths(kind):
            try:
                file = RowFile(path)
            except DamagedError:
                self.remove_damaged(path)
                continue
            except OSError:  # another process has just removed it
                continue
            places.update((image, (len(files), row)) for row, image in enumerate(file.ids))
            files.append(file)
        found = [places[image] for image in ids if image in places]
        rows = CachedRows(files, torch.tensor(found, dtype=torch.int64).view(-1, 2))
        available = available_memory()
        if (check or available is None or rows.nbytes <= available) and (damaged := rows.check()):
            for path in damaged:
                self.remove_damaged(path)
            return self.find(kind, ids, check)
        for number in {number for number, _ in found}:
            with suppress(OSError):
                os.utime(files[number].path)  # was used just now
        return rows, [position for position, image in enumerate(ids) if image not in places]

    def add(self, kind: Kind, ids: Sequence[bytes], rows: Iterable[Tensor], row: Tensor, source: str) -> bool:
        """Keep rows.

        Args:
            kind: what they are.
            ids: an id of 16 bytes for each row.
            rows: the rows, which are asked for one after the other.
            row: a tensor of the shape and dtype of a row.
            source: where the images come from, for ``lit-vision cache``.

        Returns:
            Whether they were kept.
        """
        if self.folder is None or not ids:
            return False
        needed, folder, place = len(ids) * row.nbytes, self.folder / kind.folder, printable(str(self.folder))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            limit = self.limit()
            if needed > limit:
                sizes = f"{readable_size(needed)}, more than the {readable_size(limit)}"
                log_info(f"{kind.name} of {len(ids):,} images would take {sizes} that {place} may take: not kept")
                return False
            for partial in folder.glob(f".*{_SUFFIX}"):
                partial.unlink(missing_ok=True)  # a killed process left it, since only one process writes at a time
            name = blake2b(b"".join(ids), digest_size=8).hexdigest()
            temporary = folder / f".{name}{_SUFFIX}"
            try:
                about = {"kind": kind.name, "made_with": dict(kind.made_with), "source": source}
                write_rows(temporary, ids, rows, row.shape, about)
                os.replace(temporary, folder / f"{name}{_SUFFIX}")
                self._damaged.discard(folder / f"{name}{_SUFFIX}")
            finally:
                temporary.unlink(missing_ok=True)
            self._prune(limit, keep=folder / f"{name}{_SUFFIX}")
            if kind.name == "images":
                most = readable_size(limit)
                log_info(
                    f"decoded images: {readable_size(needed)} in {place}, which takes at most {most} (--data.cache)"
                )
        except OSError as error:
            self._give_up(error)
            return False
        return True

    def remove_damaged(self, path: Path) -> None:
        """Remove a file that is not what was written, and say so."""
        log_info(f"{printable(str(path))} is damaged, so it is made again")
        self._damaged.add(path)
        with suppress(OSError):
            path.unlink()

    @contextmanager
    def alone(self, kind: Kind) -> Iterator[None]:
        """Let one process at a time make rows of a kind; the others wait, and then find them."""
        if self.folder is None:
            yield
            return
        folder = self.folder / kind.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = open(folder / ".lock", "ab")  # noqa: SIM115  # closed below
        except OSError as error:
            self._give_up(error)
            yield
            return
        with lock:
            lock_file(lock.fileno(), lambda: log_info(f"waiting for another process, which makes the same {kind.name}"))
            yield

    def entries(self) -> list[tuple[Path, os.stat_result]]:
        """All files of the cache with their status, the least recently used ones first."""
        if self.folder is None:
            return []
        found = []
        for path in self.folder.glob(f"*-*/*{_SUFFIX}"):
            with suppress(OSError):  # another process has removed it
                found.append((path, path.stat()))
        return sorted(found, key=lambda entry: entry[1].st_mtime)

    def limit(self) -> int:
        """Bytes that the cache may use: half of the disk's free space, including what the cache already uses."""
        assert self.folder is not None
        used = sum(status.st_size for _, status in self.entries())
        return int(_SHARE * (used + shutil.disk_usage(self.folder).free))

    def clear(self) -> int:
        """Remove all files of the cache, and return how many bytes they took."""
        entries = self.entries()
        for path, _ in entries:
            path.unlink(missing_ok=True)
        return sum(status.st_size for _, status in entries)

    def _paths(self, kind: Kind) -> list[Path]:
        found = [] if self.folder is None else sorted((self.folder / kind.folder).glob(f"[!.]*{_SUFFIX}"))
        return [path for path in found if path not in self._damaged]  # it may be impossible to remove them

    def _prune(self, limit: int, keep: Path) -> None:
        entries = self.entries()
        used = sum(status.st_size for _, status in entries)
        for path, status in entries:
            if used > limit and path != keep:
                path.unlink(missing_ok=True)
                used -= status.st_size

    def _give_up(self, error: OSError) -> None:
        log_info(
            f"nothing is kept in {printable(str(self.folder))} ({error.strerror}): choose another folder with "
            "--data.cache, or none"
        )
        self.folder = None


def cache_folder(option: str | Path | None) -> Path | None:
    """Return the folder that the option ``cache`` means; None if nothing is to be kept."""
    chosen = option or os.environ.get("LIT_VISION_CACHE") or platformdirs.user_cache_path("lit-vision")
    return None if str(chosen) == "none" else Path(chosen).expanduser()


def readable_size(count: float) -> str:
    """A number of bytes for people, such as 1.5 MiB."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def age(status: os.stat_result) -> float:
    """Days since a file of the cache was used."""
    return (time.time() - status.st_mtime) / 86_400
