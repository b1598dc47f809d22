"""lit-vision: train image classifiers with PyTorch Lightning."""

import os

# The threads of GNU's OpenMP, which torch uses on Linux, wait for each other by spinning: for 300,000 rounds by
# default. If another process uses a core, each wait then lasts as long as the scheduler keeps one of the threads off
# its core. After 1,000 rounds a thread sleeps, and the others can run. It must be set before torch is loaded.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version  # only when asked: it takes longer to import than this package

        return version("lit-vision")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
