import ctypes
from collections.abc import Iterator
from pathlib import Path

# malloc.h of glibc
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Have this process keep up to 512 MB of what it frees in blocks of up to 32 MB, instead of giving it back at once.

    The tensors of every forward pass on a CPU are allocated anew; fetching their pages from the system again and again
    takes a tenth of ResNet18's time. Does nothing where the C library is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_MMAP_THRESHOLD, 32 * 2**20)  # the most that glibc accepts
    mallopt(_TRIM_THRESHOLD, 512 * 2**20)


def available_memory() -> int | None:
    """Bytes that this process may still fill, by the system, its control groups and its own limit; None if unknown."""
    try:
        groups = _left_in_groups(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
        found = [_number(Path("/proc/meminfo"), "MemAvailable:") * 1024, *groups]
        import resource  # which Windows does not have

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            pages = Path("/proc/self/statm").read_text().split()[0]
            found.append(limit - int(pages) * resource.getpagesize())
    except (OSError, ImportError, ValueError, IndexError, StopIteration, RuntimeError):  # no Linux
        return None
    return max(0, min(found))


def _left_in_groups(own: Path, mounted: Path) -> Iterator[int]:
    """Bytes left in each of this process' control groups that has a limit, of version 1 and 2."""
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
        for folder in (inner, *inner.parents):  # a container may not see the upper ones, or be at the root itself
            most = (folder / limit).read_text().strip() if (folder / limit).is_file() else "max"
            if most != "max":
                reclaimable = _number(folder / "memory.stat", cache)  # files that were read and can be read again
                yield int(most) - int((folder / usage).read_text()) + reclaimable
            if folder == root:
                break


def _number(table: Path, name: str) -> int:
    """The number that follows a name at the start of a line."""
    return next(int(line.split()[1]) for line in table.read_text().splitlines() if line.startswith(name))
