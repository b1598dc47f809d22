"""Free memory, the share of it that images may fill, and the reuse of freed memory."""

import ctypes
from collections.abc import Iterator
from pathlib import Path

import torch

_MAX_BUDGET = 4 * 2**30  # bytes

# from malloc.h of glibc
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> None:
    """Let malloc keep up to 2 GB of freed memory at the end of its heap, instead of returning it to the system.

    On a CPU, the tensors of every step are allocated anew; fetching their pages from the system each time takes a tenth
    of ResNet18's time in evaluation, and a third of WhitenedCNN's in training with float32. malloc has to serve large
    blocks from its heap for that, and all threads from one heap: those of other threads, such as the one of backward,
    have at most 64 MB. This does nothing if the C library is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_ARENA_MAX, 1)
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)  # an int


def fits_on_gpu(size: int, device: torch.device) -> bool:
    """Tell whether so many bytes are less than a quarter of the free memory of a GPU; False for other devices."""
    return device.type == "cuda" and size < torch.cuda.mem_get_info(device)[0] / 4


def memory_budget(processes: int) -> float:
    """Return the bytes that each process may fill with images: its share of half of the free memory, at most 4 GiB.

    Args:
        processes: the number of processes on this machine, each of which keeps the images.
    """
    available = available_memory()
    return _MAX_BUDGET if available is None else min(_MAX_BUDGET, available / 2 / processes)


def available_memory() -> int | None:
    """Return the bytes that this process can still allocate within the limits of the system, its groups and itself.

    The result is None if the limits are unknown, which they are everywhere but on Linux.
    """
    try:
        groups = _left_in_groups(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
        limits = [_number(Path("/proc/meminfo"), "MemAvailable:") * 1024, *groups]
        import resource  # does not exist on Windows

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            pages = Path("/proc/self/statm").read_text().split()[0]
            limits.append(limit - int(pages) * resource.getpagesize())
    except (OSError, ImportError, ValueError, IndexError, StopIteration, RuntimeError):  # not Linux
        return None
    return max(0, min(limits))


def _left_in_groups(own: Path, mounted: Path) -> Iterator[int]:
    """Yield the bytes left in each control group of this process that has a limit, of version 1 or 2."""
    for line in own.read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root = mounted / controllers
        limit, usage, cache = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ")
            if controllers
            else ("memory.max", "memory.current", "inactive_file ")
        )
        inner = root / group.lstrip("/")
        for folder in (inner, *inner.parents):  # a container may not see the outer groups, or be at the root itself
            most = (folder / limit).read_text().strip() if (folder / limit).is_file() else "max"
            if most != "max":
                reclaimable = _number(folder / "memory.stat", cache)  # cached files, which can be read again
                yield int(most) - int((folder / usage).read_text()) + reclaimable
            if folder == root:
                break


def _number(table: Path, name: str) -> int:
    """Return the number that follows a name at the start of a line."""
    return next(int(line.split()[1]) for line in table.read_text().splitlines() if line.startswith(name))
