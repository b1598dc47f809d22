"""Tell errors that the user can fix from faults of the code, by what they are and where they were raised."""

import errno
import sysconfig
import traceback
from pathlib import Path
from types import TracebackType

_OPTION_READERS = ("lightning", "pytorch_lightning", "lightning_utilities", "jsonargparse")
"""Libraries that check what the user has given; what they raise is about an option."""

_REFUSED_MEMORY = (
    "can't allocate memory",
    "annot allocate memory",
    "failed to map segment",
    "can't start new thread",
    "std::bad_alloc",
)
"""What the messages of torch, of the system and of Python have in common when there is not enough memory."""

_LOST_PROCESS = ("DistBackendError", "DistNetworkError", "DistStoreError")
"""Errors of torch.distributed when processes cannot talk to each other."""

_PACKAGES = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
_OURS = Path(__file__).resolve().parents[1]


def explain(error: Exception) -> str | None:
    """Explain an error in one line with a remedy; None for an error that the user cannot fix with options.

    An error is about the options if Lightning or the parser raised it, or a library that they called. If our own code
    or the user's is nearer to the error, it is a fault there, unless the system refused something: a file, memory or a
    package.
    """
    error = _cause(error)
    reason = first_line(error)
    if _is_out_of_memory(error):
        return f"not enough memory ({reason.rstrip('. ')}): free some, or lower --data.batch_size or --data.image_size"
    if isinstance(error, ImportError):
        return f"{reason.rstrip('. ')}: install the package, or leave out the option that needs it"
    if isinstance(error, OSError) and error.errno is not None:
        return _explain_system(error)
    if type(error).__name__ in _LOST_PROCESS or "gloo/transport" in reason:
        return (
            f"another process of the run has ended or cannot be reached ({reason[:120].rstrip()}...): see what it "
            "printed; if it was killed, resume with --ckpt_path last"
        )
    if _nearest(error.__traceback__) == "options":
        kind = "" if reason and " " in reason else f"{type(error).__name__} "
        return f"{kind}{reason.rstrip('.!: ')}: change the options of --trainer, its callbacks or loggers"
    return None


def is_own_fault(error: Exception) -> bool:
    """Whether our own code is nearest to where an error was raised, rather than the user's."""
    return _nearest(_cause(error).__traceback__) == "ours"


def first_line(error: BaseException) -> str:
    """The message of an error as one line."""
    return " ".join(str(error).split())


def _cause(error: Exception) -> Exception:
    """The first error of a chain that the parser or Lightning wrapped in errors of their own."""
    while _nearest(error.__traceback__) == "options" and isinstance(
        inner := error.__cause__ or error.__context__, Exception
    ):
        error = inner
    return error


def _is_out_of_memory(error: Exception) -> bool:
    """Whether memory was refused, to Python, to torch, to the loader of libraries or for a thread's stack."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return (isinstance(error, OSError) and error.errno == errno.ENOMEM) or (
        isinstance(error, RuntimeError | ImportError) and any(words in str(error) for words in _REFUSED_MEMORY)
    )


def _explain_system(error: OSError) -> str:
    names = " and ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    what = f"{names}: {error.strerror}" if names else f"{error.strerror}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"cannot write ({what}): make room, or choose another folder"
    return f"{what}: check the path and its permissions"


def _nearest(trace: TracebackType | None) -> str:
    """Whose code is nearest to an error: "options" for the readers of options, "ours", or "user"; others call none."""
    for frame, _ in reversed(list(traceback.walk_tb(trace))):
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(_OURS):
            return "ours"
        inside = next((path.relative_to(root).parts[0] for root in _PACKAGES if path.is_relative_to(root)), None)
        if inside in _OPTION_READERS:
            return "options"
        if inside is None and path.is_file() and not path.is_relative_to(sysconfig.get_path("stdlib")):
            return "user"
    return "ours"
