"""Other processes that want the cores."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

BESIDE = {0: 300, 1: 100, 4: 50}
"""Numbers of busy processes, and the training steps that are measured beside them."""


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Run processes that keep a core busy until the block ends."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
