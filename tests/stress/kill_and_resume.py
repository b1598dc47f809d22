"""Kill a fit at random moments, go on with it, and compare: python tests/stress/kill_and_resume.py [--kills 30].

Every trial starts the same fit, kills it with SIGKILL, and lets `--ckpt_path last` finish it. Weights, optimizer and
metrics must be, bit for bit, those of a fit that was never killed. Augmentation and checkpoints within epochs are on.
"""

import csv
import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import trials
from trials import Attempt

import lit_vision.commands.fit  # noqa: F401  # once, not in every process
from lit_vision.cli import main

RECIPES = {
    "augmented": (
        "--config shapes.yaml --data.train_size 1300 --data.val_size 200 --trainer.max_epochs 4 "
        "--data.augment [flip,translate,rotate] --model.schedule one_cycle"
    ),
    "mixed": (
        "--config shapes.yaml --data.train_size 700 --data.val_size 200 --trainer.max_epochs 3 --data.balance true "
        "--data.augment [flip,random_resized_crop,trivial_augment,random_erasing,mixup,cutmix] --model.optimizer adamw"
    ),
    "fine-tuned": (
        "--config hymenoptera.yaml --model.arch mobilenet_v3_small --model.weights null --data ShapesDataModule "
        "--data.train_size 100 --data.test_size 20 --data.image_size 64 --data.batch_size 4 --trainer.max_epochs 3 "
        "--model.unfreeze 2 --model.unfreeze_at 1 --model.optimizer adamw --model.schedule cosine"
    ),
    "averaged": (
        "--config cifar_fast.yaml --data ShapesDataModule --data.train_size 1300 --data.val_size 200 "
        "--data.batch_size 32 --trainer.max_epochs 4"
    ),
    "whitened": (
        "--config cifar94.yaml --data ShapesDataModule --data.train_size 1300 --data.val_size 200 --data.batch_size 32 "
        "--data.image_size 32 --data.crop_epochs 2 --model.widths [8,16,16] --model.lr 0.1 --trainer.max_epochs 4"
    ),
    "muon_sgd": (
        "--config cifar94.yaml --data ShapesDataModule --data.train_size 1300 --data.val_size 200 --data.batch_size 32 "
        "--data.image_size 32 --data.crop_epochs 2 --data.crop_size 20 --model.widths [8,16,16] --trainer.max_epochs 4 "
        "--model.optimizer muon_sgd --model.lr 0.1 --model.head_lr_scale 5 --model.bias_lr_scale 0.5"
    ),
    "feature cache": (
        "--config hymenoptera.yaml --model.arch mobilenet_v3_small --model.weights null --data ShapesDataModule "
        "--data.train_size 200 --data.test_size 20 --data.image_size 64 --data.batch_size 4 --trainer.max_epochs 6"
    ),
}
_SHARED = "--checkpoint.every_n_steps 3 --name run --seed_everything 0"


def start(words: Sequence[str], folder: Path) -> int:
    """Start ``lit-vision fit`` in a process of its own; gives its number."""
    process = os.fork()  # which saves the seconds of importing everything again
    if process:
        return process
    os.chdir(folder)
    with open("log.txt", "a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    code = 1
    try:
        code = main(["fit", *words])
    finally:
        os._exit(code)


def finish(words: Sequence[str], folder: Path) -> float:
    """Run ``lit-vision fit`` to its end; gives the seconds."""
    began = time.monotonic()
    code = os.waitstatus_to_exitcode(os.waitpid(start(words, folder), 0)[1])
    if code:
        raise SystemExit(f"fit ended with {code}:\n{(folder / 'log.txt').read_text()[-2000:]}")
    return time.monotonic() - began


def outcome(folder: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, str]], Any]:
    """Final weights, figures of all epochs, and the state of the optimizer."""
    run = folder / "lightning_logs" / "run" / "version_0"
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    with (run / "metrics.csv").open() as table:
        rows = [{k: v for k, v in row.items() if not k.startswith("time/")} for row in csv.DictReader(table)]
    return last["state_dict"], rows, last["optimizer_states"][0]["state"]


def equal(a: Any, b: Any) -> bool:
    """Bit for bit, through dicts, lists and tensors."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


def trial(words: Sequence[str], folder: Path, seconds: float) -> int | None:
    """Kill a fit after so many seconds, and finish it.

    Returns:
        The step that it went on from; None if there was no checkpoint yet, or nothing left to kill.
    """
    process = start(words, folder)
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    killed = os.WIFSIGNALED(os.waitpid(process, 0)[1])
    last = folder / "lightning_logs" / "run" / "version_0" / "checkpoints" / "last.ckpt"
    if not killed or not last.exists():
        return None
    step = torch.load(last, weights_only=True)["global_step"]
    finish(["--ckpt_path", "last"], folder)
    return int(step)


def prepare(root: Path) -> Attempt:
    """Make trials of each recipe in turn."""
    expected, length = {}, {}

    def attempt(number: int, folder: Path, moments: random.Random) -> tuple[bool, str] | None:
        name = [*RECIPES][number % len(RECIPES)]
        words = f"{RECIPES[name]} {_SHARED}".split()
        if name not in expected:
            (root / name).mkdir()
            length[name] = finish(words, root / name)
            expected[name] = outcome(root / name)
        step = trial(words, folder, moments.uniform(0.2, 1) * length[name])
        return None if step is None else (equal(outcome(folder), expected[name]), f"{name}, goes on from step {step}")

    return attempt


if __name__ == "__main__":
    trials.main(__doc__, prepare)
