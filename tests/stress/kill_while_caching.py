"""Kill fits while they write caches, and look at what is left: python tests/stress/kill_while_caching.py [--kills 30].

Every trial starts a fit with an empty cache and kills it with SIGKILL. The files in the cache must be whole. The fit is
then finished with this cache; its weights and figures must be, bit for bit, those of a fit without a cache.
"""

import os
import random
import shutil
import signal
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a fork must not need the threads of its parent

import torch
import trials
from kill_and_resume import equal, finish, outcome, start
from PIL import Image
from trials import Attempt

from lit_vision.data.row_file import RowFile

RECIPES = {
    "images": "--config cifar.yaml --data.batch_size 16 --data.image_size 128",
    "features": "--config hymenoptera.yaml --model.arch mobilenet_v3_small --model.weights null --data.image_size 128",
}
_SHARED = "--data ImageFolderDataModule --data.root ../pictures --data.val_size 20 --trainer.max_epochs 2 --name run"


def make_pictures(folder: Path, count: int) -> None:
    """Write JPEG files of two classes, which take some seconds to decode."""
    generator = torch.Generator().manual_seed(0)
    for number in range(count):
        coarse = torch.randint(256, (12, 16, 3), dtype=torch.uint8, generator=generator)
        path = folder / "train" / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coarse.numpy()).resize((1600, 1200)).save(path)


def whole_files(cache: Path) -> int:
    """Read every row of every file in a cache; returns the number of files."""
    paths = [*cache.rglob("*.rows")]
    for path in paths:
        rows = RowFile(path)
        for number in range(len(rows.ids)):
            rows.read(number)
    return len(paths)


def trial(words: list[str], folder: Path, seconds: float) -> tuple[bool, int]:
    """Kill a fit after so many seconds and finish it; tells whether it was killed, and how many files were left."""
    os.environ["LIT_VISION_CACHE"] = str(folder / "cache")
    process = start(words, folder)
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    killed = os.WIFSIGNALED(os.waitpid(process, 0)[1])
    found = whole_files(folder / "cache")
    if (folder / "lightning_logs/run/version_0/checkpoints/last.ckpt").exists():
        words = ["--ckpt_path", "last"]
    else:
        shutil.rmtree(folder / "lightning_logs", ignore_errors=True)
    finish(words, folder)
    return killed, found


def prepare(root: Path) -> Attempt:
    """Make trials of each recipe in turn."""
    make_pictures(root / "pictures", 100)
    expected, length = {}, {}

    def attempt(number: int, folder: Path, moments: random.Random) -> tuple[bool, str] | None:
        name = [*RECIPES][number % len(RECIPES)]
        words = f"{RECIPES[name]} {_SHARED}".split()
        if name not in expected:
            (root / name).mkdir()
            length[name] = finish([*words, "--data.cache", "none"], root / name)
            expected[name] = outcome(root / name)
        killed, found = trial(words, folder, moments.uniform(0.1, 1) * length[name])
        return (equal(outcome(folder), expected[name]), f"{name}, {found} files") if killed else None

    return attempt


if __name__ == "__main__":
    trials.main(__doc__, prepare)
