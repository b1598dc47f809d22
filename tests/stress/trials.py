"""Trials at random moments, and the command line of the scripts that make them."""

import argparse
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

Attempt = Callable[[int, Path, random.Random], tuple[bool, str] | None]
"""(number, an empty folder, moments) -> whether all came out as it should, and what was tried; None for a moment that
tests nothing."""


def run_trials(kills: int, seed: int, prepare: Callable[[Path], Attempt]) -> bool:
    """Make trials until so many have tested something; True if all came out as they should.

    Args:
        kills: number of trials.
        seed: seed of the moments.
        prepare: makes what all trials share, in a folder, and gives the function that makes one.
    """
    moments, good, tried = random.Random(seed), 0, 0
    with tempfile.TemporaryDirectory() as root:
        attempt = prepare(Path(root))
        for number in range(kills):
            result = None
            while result is None:
                tried += 1
                folder = Path(root) / str(tried)
                folder.mkdir()
                result = attempt(number, folder, moments)
            same, words = result
            good += same
            print(f"{number + 1}/{kills}  {words}: {'same' if same else 'DIFFERENT'}", flush=True)
    print(f"{good} of {kills} the same")
    return good == kills


def main(description: str | None, prepare: Callable[[Path], Attempt]) -> None:
    """Read ``--kills`` and ``--seed``, make the trials, and exit."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    sys.exit(not run_trials(options.kills, options.seed, prepare))
