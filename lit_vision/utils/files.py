"""Atomic file writes, and checks that a file can be written."""

import glob
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from pathlib import Path

from lit_vision.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_POLL = 0.05  # seconds between two attempts to lock a file


def ensure_writable(folder: Path, option: str = "--data.root") -> None:
    """Create a folder if it does not exist, and check that files can be written in it.

    Args:
        folder: the folder.
        option: the option that chooses the folder, named in the error.

    Raises:
        UserError: the folder is a file, or cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = "is a file" if folder.is_file() else f"cannot be written to ({error.strerror})"
        raise UserError(f"{folder} {reason}: choose another folder with {option}") from error


def check_output(path: Path, option: str, suffix: str | None = None) -> None:
    """Check that a file can be written before the work for it begins, and create its folder.

    Args:
        path: the file.
        option: the option that names the file.
        suffix: the suffix that the name must have, such as .png.

    Raises:
        UserError: the path is a folder, its folder cannot be written to, or its suffix is wrong.
    """
    if path.is_dir() or not path.name:
        raise UserError(f"{path} is a folder: set {option} to the name of a file")
    if suffix is not None and path.suffix.lower() != suffix:
        raise UserError(f"{path} does not end in {suffix}: set {option} to a name that does")
    ensure_writable(path.parent, option)


@contextmanager
def atomic_write(path: Path, lasting: bool = False) -> Iterator[Path]:
    """Yield a temporary path to write to, which replaces ``path`` if the block ends without an error.

    No reader ever sees half a file, and no crash leaves one at ``path``. Special files such as /dev/stdout are written
    directly.

    Args:
        path: the file.
        lasting: wait until it is on the disk, so that a power cut leaves no empty file under the new name either.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    name, path = str(path), path.resolve()  # a symbolic link stays a link, and its target is replaced
    temporary = path.with_name(_temporary_name(path, str(os.getpid())))
    try:
        yield temporary
        if lasting:
            _sync(temporary, os.O_RDWR)
        os.replace(temporary, path)
        if lasting and os.name == "posix":  # Windows opens no folders
            _sync(path.parent, os.O_RDONLY)
    except OSError as error:
        if error.filename is None:  # a write does not say where
            error.filename = name
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path, flags: int) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def keep_previous(path: Path, previous: Path) -> None:
    """Let a file keep a second name, before another one takes its first; it is not copied.

    Args:
        path: the file; nothing happens if there is none.
        previous: the second name, in the same folder; what has it is replaced.
    """
    path = path.resolve()
    if not path.is_file():
        return
    beside = path.with_name(_temporary_name(previous, str(os.getpid())))
    try:
        os.link(path, beside)
    except OSError:  # a disk without links, such as FAT
        os.replace(path, previous)
    else:
        os.replace(beside, previous)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is seen whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def write_together(folder: Path, files: Mapping[str, bytes], optional: Set[str] = frozenset()) -> None:
    """Write several files to a folder, all or none of them.

    Args:
        folder: the folder, which is made if it does not exist.
        files: the content of each file by its name.
        optional: names of files that are removed if ``files`` does not have them, as they are from an earlier time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".", dir=folder) as beside:
            for name, content in files.items():
                write_whole(Path(beside) / name, content)
            for name in files:  # renaming takes no room
                os.replace(Path(beside) / name, folder / name)
        for name in optional - files.keys():
            (folder / name).unlink(missing_ok=True)
    except BaseException as error:
        if isinstance(error, OSError):
            error.filename = str(folder)
        with suppress(OSError):  # it holds earlier files
            folder.rmdir()
        raise


@contextmanager
def only_user(folder: Path) -> Iterator[None]:
    """Keep other processes that ask for the same folder out of it; the system ends this with the process.

    Where folders cannot be locked, as on some network disks, nobody is kept out.

    Args:
        folder: the folder, which exists.

    Raises:
        UserError: another process has it.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"another process is writing to {folder}: wait for its end, or start a run of its own with --name"
            ) from error
        except OSError:
            pass
        yield
    finally:
        os.close(descriptor)


def lock_file(descriptor: int, waiting: Callable[[], None]) -> None:
    """Lock an open file until it is closed, as soon as no other process has it locked.

    Where files cannot be locked, as on some network disks, this does nothing.

    Args:
        descriptor: the file.
        waiting: called once if this takes longer than a second.
    """
    start: float | None = time.monotonic()
    while fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if start is not None and time.monotonic() - start > 1:
                waiting()
                start = None
            time.sleep(_POLL)
        except OSError:
            return


@contextmanager
def keep_as_it_was(folder: Path, unless: Callable[[], bool]) -> Iterator[None]:
    """Undo what a block did to the files of a folder if it ends with an error too early.

    A folder that was empty is removed, as are the two above it if they are empty then. Otherwise new files directly in
    it are removed, and changed ones restored; folders in it are left alone.

    Args:
        folder: the folder, which exists.
        unless: tells whether the block came far enough for its files to be kept.
    """
    was_empty = not any(folder.iterdir())
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    try:
        yield
    except BaseException:
        if not unless():
            if was_empty:
                _remove_with_empty_parents(folder)
            else:
                _restore(folder, before)
        raise


def _remove_with_empty_parents(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # of the first that is not empty
        for above in (folder.parent, folder.parent.parent):  # those of the run's name and of all runs
            if above.absolute() != Path.cwd():
                above.rmdir()


def _restore(folder: Path, files: dict[Path, bytes]) -> None:
    for path in set(folder.iterdir()) - files.keys():
        if path.is_file():
            path.unlink(missing_ok=True)
    for path, content in files.items():
        if not path.is_file() or path.read_bytes() != content:
            path.write_bytes(content)


def remove_partial_files(path: Path) -> None:
    """Remove temporary files of :func:`atomic_write` in killed processes; no other process may be writing ``path``."""
    for partial in path.parent.glob(_temporary_name(Path(glob.escape(path.name)), "*")):
        partial.unlink(missing_ok=True)


def _temporary_name(path: Path, process: str) -> str:
    return f".{path.stem}.{process}{path.suffix}"
