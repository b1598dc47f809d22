"""What every data set that is downloaded needs: errors that say what to do."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

from lit_vision.errors import UserError

_SILENCE = 60  # seconds without a byte after which a download counts as broken


@contextmanager
def downloading(url: str, archive: Path) -> Iterator[None]:
    """Around a download that checks its own hash: a failed one leaves no file, and becomes one line.

    Args:
        url: named in the error.
        archive: the file that the download writes.

    Raises:
        UserError: no connection, an HTTP error, or a file that is not the expected one.
    """
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENCE)
    try:
        yield
    except (OSError, ValueError, HTTPException, RuntimeError) as error:  # a RuntimeError is a wrong hash
        archive.unlink(missing_ok=True)
        if not isinstance(error, RuntimeError):
            raise UserError(
                f"cannot download {url} ({error}): check the network, name a mirror with --data.url, or a folder that "
                "has the data with --data.root"
            ) from error
        raise UserError(
            f"what {url} gave is not the expected file (broken off or changed on the way): try again, or name a "
            "mirror with --data.url"
        ) from error
    except BaseException:
        archive.unlink(missing_ok=True)
        raise
    finally:
        socket.setdefaulttimeout(timeout)
