"""Send signals to commands at random moments: python tests/stress/signal_anywhere.py [--count 60] [--seed 0].

Each command must end with 130, 143 or 129, without a traceback and without partial files. A signal that comes before
Python has started ends the process by itself, which a shell reports by the same numbers.
"""

import argparse
import collections
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

FIT = (
    "fit --config shapes.yaml --data.train_size 2000 --data.test_size 50 --data.val_size 40 --trainer.max_epochs 4 "
    "--trainer.accelerator cpu --trainer.enable_model_summary false"
)
COMMANDS = (
    FIT,
    "fit --ckpt_path last --trainer.max_epochs 40",
    "test --ckpt_path last",
    "validate --ckpt_path last",
    "predict --ckpt_path last --images pictures --output o.csv",
    "export --ckpt_path last --output w.pth",
    "lr-find --config shapes.yaml --data.train_size 2000 --num_training 200",
)
_SLOWEST = 8.0  # seconds until the signal
_PATIENCE = 5.0  # seconds that the end may take


def start(line: str) -> "subprocess.Popen[str]":
    """Start a command in a process of its own."""
    words = [sys.executable, "-m", "lit_vision", *line.split()]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def send(signum: signal.Signals, line: str, seconds: float) -> tuple[int | None, str]:
    """Start a command and send it a signal; gives its exit code, None if it had ended before, and what is wrong."""
    process = start(line)
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        sent = time.monotonic()
        process.send_signal(signum)
        _, err = process.communicate(timeout=60)
        took = time.monotonic() - sent
        wrong = "" if process.returncode in (128 + signum, -signum if seconds < 0.1 else None) else "exit code"
        if "Traceback" in err or "KeyboardInterrupt" in err:
            wrong = err
        return process.returncode, wrong or (f"{took:.0f} s" if took > _PATIENCE else "")
    return None, ""


def main(count: int, seed: int) -> int:
    """Try so many random signals; gives the number of those that did not end a command as they must."""
    rng, ends, bad = random.Random(seed), collections.Counter[str](), 0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        start(FIT).communicate()
        Path("pictures").mkdir()
        for number in range(200):
            Image.new("RGB", (32, 32), (number, 0, 0)).save(f"pictures/{number}.png")
        for _ in range(count):
            signum = rng.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
            line, seconds = rng.choice(COMMANDS), rng.uniform(0, _SLOWEST)
            code, wrong = send(signum, line, seconds)
            ends["ended before" if code is None else f"{signum.name} {code}"] += 1
            if wrong:
                bad += 1
                print(f"WRONG {signum.name} after {seconds:.2f} s: {code}, {wrong}\n      {line}", flush=True)
        partial = [str(path) for path in Path().rglob(".*") if path.is_file()]
        os.chdir("/")
    print(f"seed {seed}: {bad} of {count} wrong, partial files: {partial}, {dict(ends)}")
    return bad + len(partial)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    sys.exit(bool(main(given.count, given.seed)))
