"""Downloads that fail with one-line errors, and the unpacking of archives, completely or not at all."""

import os
import socket
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

from lit_vision.errors import UserError

_SILENCE = 60  # seconds without a byte until a download fails


@contextmanager
def downloading(url: str, archive: Path) -> Iterator[None]:
    """Wrap a download that checks its own hash: a failed one leaves no file and raises a one-line error.

    Args:
        url: address of the download, named in the error.
        archive: file that the download writes.

    Raises:
        UserError: the download fails, or its file is not the expected one.
    """
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENCE)
    try:
        yield
    except (OSError, ValueError, HTTPException, RuntimeError) as error:  # RuntimeError: the hash is wrong
        archive.unlink(missing_ok=True)
        if not isinstance(error, RuntimeError):
            raise UserError(
                f"cannot download {url} ({error}): check the network, set --data.url to a mirror, or set "
                "--data.root to a folder that contains the data"
            ) from error
        raise UserError(
            f"{url} is not the expected file (the download was cut off, or the file has changed): try again, or set "
            "--data.url to a mirror"
        ) from error
    except BaseException:
        archive.unlink(missing_ok=True)
        raise
    finally:
        socket.setdefaulttimeout(timeout)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a folder from a zip file, completely or not at all.

    Args:
        archive: zip file that contains a folder of the same name as ``folder``.
        folder: path of the unpacked folder; it must not exist yet.

    Raises:
        UserError: a file in the archive would be written outside the folder.
    """
    with zipfile.ZipFile(archive) as content, tempfile.TemporaryDirectory(dir=folder.parent) as beside:
        for name in content.namelist():
            if not (Path(beside) / name).resolve().is_relative_to(Path(beside).resolve()):
                raise UserError(
                    f"{archive} would write outside its folder ({name}), so it cannot be trusted: delete it"
                )
        content.extractall(beside)
        os.replace(Path(beside) / folder.name, folder)
