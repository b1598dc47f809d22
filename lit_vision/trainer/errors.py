"""One-line explanations of the errors of torch and of the disk during training."""

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lit_vision.errors import UserError
from lit_vision.runs import CHECKPOINTS, LAST, PREVIOUS
from lit_vision.utils.lightning_compat import is_compile_error

_ELSEWHERE = "in another folder with --trainer.default_root_dir"


@contextmanager
def explain_compile_errors() -> Iterator[None]:
    """Explain the error that torch.compile raises at the first batch.

    Raises:
        UserError: the network cannot be compiled here, most often because there is no C++ compiler.
    """
    try:
        yield
    except Exception as error:
        if not is_compile_error(error):
            raise
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"the network cannot be compiled here ({reason}): leave --model.compile out, or install what is missing, "
            "such as a C++ compiler"
        ) from error


@contextmanager
def explain_full_disks(folder: Path, remedy: str | None = None) -> Iterator[None]:
    """Explain the error of a full disk, whether this project, Lightning or TensorBoard was writing.

    Args:
        folder: the folder that the message names if the system does not say which file it is.
        remedy: what to do once there is room; by default, resume the run in this folder if that is possible.

    Raises:
        UserError: the disk is full, the user's quota is used up, or a file would be too large.
    """
    hook = threading.excepthook

    def report(args: Any) -> None:
        if not _is_full(args.exc_value):  # TensorBoard's thread raises it again in its caller
            hook(args)

    threading.excepthook = report
    try:
        yield
    except OSError as error:
        if not _is_full(error):
            raise
        if remedy is None:
            resumes = any((folder / CHECKPOINTS / name).is_file() for name in (LAST, PREVIOUS))
            remedy = f"{'resume with --ckpt_path last' if resumes else 'start again'}, or start {_ELSEWHERE}"
        raise UserError(
            f"cannot write {error.filename or f'in {folder}'} ({error.strerror}): make room and {remedy}"
        ) from error
    finally:
        threading.excepthook = hook


def _is_full(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
