"""Find the image files below a folder in one walk, and keep account of what is left out."""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lit_vision.data.decoding import is_image
from lit_vision.errors import UserError
from lit_vision.utils.bars import progress_bar
from lit_vision.utils.text import printable

_HELPERS = {"__macosx", "__pycache__", "lost+found", "@eadir", "$recycle.bin", "system volume information"}
_HELPER_FILES = {"thumbs.db", "desktop.ini"}
_EXAMPLES = 3  # paths that a message names for each reason

FileId = tuple[int, int] | str
"""What identifies a file whatever path leads to it: device and inode, or its real path where there are no inodes."""


class LeftOut(NamedTuple):
    """A file that is not used, and why.

    Attributes:
        path: the file.
        reason: the reason, in the plural, such as "links without a target".
    """

    path: str
    reason: str


class FoundImage(NamedTuple):
    """An image file below a folder.

    Attributes:
        path: the file.
        file_id: equal for two paths that lead to the same file.
        linked: whether the path leads through a link.
    """

    path: str
    file_id: FileId
    linked: bool


class Folder:
    """A folder, with all that it holds.

    Attributes:
        path: path of the folder.
        images: the image files directly in it, sorted by name.
        folders: the folders directly in it, sorted by name, without those of file systems and archives.
        left_out: the other files directly in it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.images: list[FoundImage] = []
        self.folders: list[Folder] = []
        self.left_out: list[LeftOut] = []
        self._all_images: list[FoundImage] | None = None

    @property
    def name(self) -> str:
        """Name of the folder, which may hold bytes that are not UTF-8 (see :func:`printable`)."""
        return os.path.basename(self.path)

    def walk(self) -> Iterator["Folder"]:
        """This folder and all folders below it."""
        yield self
        for folder in self.folders:
            yield from folder.walk()

    def all_images(self) -> list[FoundImage]:
        """The images in it and below it, each file once, sorted by path."""
        if self._all_images is None:
            found = once(image for folder in self.walk() for image in folder.images)
            self._all_images = sorted(found, key=lambda image: image.path)
        return self._all_images

    def has_images(self) -> bool:
        """Whether there is an image in it or below it."""
        return bool(self.images) or any(folder.has_images() for folder in self.folders)


def once(images: Iterable[FoundImage]) -> list[FoundImage]:
    """Keep one path of each file: the one without links, then the first in alphabetical order.

    So an image keeps its path if links to it come or go.
    """
    kept: dict[FileId, FoundImage] = {}
    for image in images:
        other = kept.get(image.file_id)
        if other is None or (image.linked, image.path) < (other.linked, other.path):
            kept[image.file_id] = image
    return list(kept.values())


def list_folder(path: str | Path) -> Folder:
    """List a folder and all folders below it.

    Links are followed, except to a folder that the link is in. Hidden files, and the helpers of file systems and
    archives such as __MACOSX, are passed over.

    Raises:
        UserError: a folder cannot be read.
    """
    with progress_bar("listing", delay=1) as bar:  # network disks may take minutes
        return _list(os.fspath(path), os.stat(path), (), False, bar)


def _list(path: str, status: os.stat_result, above: tuple[FileId, ...], linked: bool, bar: Any) -> Folder:
    folder = Folder(path)
    above = (*above, _identity(status, path))
    try:
        entries = sorted(os.scandir(path), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(
            f"cannot read the folder {printable(path)} ({error.strerror}): change its permissions"
        ) from error
    for entry in entries:
        if entry.name.startswith(".") or entry.name.lower() in _HELPERS:
            continue
        is_link = entry.is_symlink()
        try:
            if entry.is_dir():
                inner = os.stat(entry.path)
                if _identity(inner, entry.path) in above:
                    folder.left_out.append(LeftOut(entry.path, "links to a folder above them"))
                else:
                    folder.folders.append(_list(entry.path, inner, above, linked or is_link, bar))
            elif not entry.is_file():
                dangling = is_link and not os.path.exists(entry.path)
                reason = "links without a target" if dangling else "not regular files"
                folder.left_out.append(LeftOut(entry.path, reason))
            elif is_image(entry.path):
                # unless it is a link, an entry gives its inode without asking the system, on its folder's device
                file_id = (
                    _identity(os.stat(entry.path), entry.path)
                    if is_link or not entry.inode()
                    else (status.st_dev, entry.inode())
                )
                folder.images.append(FoundImage(entry.path, file_id, linked or is_link))
                bar.update()
            elif entry.name.lower() not in _HELPER_FILES:
                folder.left_out.append(LeftOut(entry.path, f"{_kind(entry.name)}, which Pillow does not read"))
        except OSError as error:  # such as links that form a circle among themselves
            folder.left_out.append(LeftOut(entry.path, f"not readable ({error.strerror})"))
    return folder


def _identity(status: os.stat_result, path: str) -> FileId:
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(path)


def identify(path: str) -> FileId | None:
    """Return what identifies a regular file; None if there is none at the path, or a folder, pipe or device."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # a path may hold characters that no path can have
        return None
    return _identity(status, path) if stat.S_ISREG(status.st_mode) else None


def _kind(name: str) -> str:
    suffix = os.path.splitext(name)[1].lower()
    return f"{printable(suffix)} files" if suffix else "files without a suffix"


def summarize(left_out: Iterable[LeftOut], root: Path) -> str:
    """Count what is left out by reason, and name the first files; empty if there is nothing.

    Args:
        left_out: the files.
        root: a folder above all of them, which paths of examples begin below.
    """
    examples: dict[str, list[str]] = {}
    for path, reason in left_out:
        examples.setdefault(reason, []).append(path)
    return "; ".join(f"{reason}: {len(paths):,} ({_some(paths, root)})" for reason, paths in examples.items())


def _some(paths: list[str], root: Path) -> str:
    shown = [printable(os.path.relpath(path, root)) for path in paths[:_EXAMPLES]]
    return ", ".join([*shown, "..."] if len(paths) > _EXAMPLES else shown)
