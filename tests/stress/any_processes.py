"""Kill runs of two processes, and go on with one, two or four: python tests/stress/any_processes.py [--kills 30].

Every trial starts the same run with two processes, kills both at a random moment, and goes on in the same folder with
another number. Each image must come once per epoch, with the figures of a run that was left alone, to 1e-6. The runs
compute in float64: in float32, training itself makes more of the differences in rounding than that.
"""

import csv
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import trials
from lightning.pytorch import Callback
from trials import Attempt

LINE = (
    "--config shapes.yaml --data.train_size 1301 --data.val_size 200 --data.global_batch_size 12 --name run "
    "--trainer.max_epochs 3 --checkpoint.every_n_steps 10 --trainer.accelerator cpu --trainer.strategy ddp "
    "--data.augment [flip,rotate] --trainer.precision 64-true --trainer.callbacks+=any_processes.Record"
)
_IMAGES = 1101


class Record(Callback):
    """Writes down which images each process has trained on, and in which step."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        """Add a line: epoch, step, number of processes, images."""
        with Path(f"seen_{os.environ['SESSION']}_{trainer.global_rank}.txt").open("a") as file:
            images = " ".join(map(str, batch.index.tolist()))
            file.write(f"{trainer.current_epoch} {trainer.global_step} {images}\n")


def start(words: str, folder: Path, session: int) -> subprocess.Popen[bytes]:
    """Start a fit in a process group of its own."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "SESSION": str(session), "PYTHONPATH": path}
    with (folder / "log.txt").open("a") as log:
        command = [sys.executable, "-m", "lit_vision", "fit", *words.split()]
        return subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True)


def finish(words: str, folder: Path, session: int) -> None:
    """Run a fit to its end."""
    if code := start(words, folder, session).wait():
        raise SystemExit(f"fit ended with {code}:\n{(folder / 'log.txt').read_text()[-3000:]}")


def figures(folder: Path) -> list[dict[str, float]]:
    """The figures of each epoch."""
    with (folder / "lightning_logs/run/version_0/metrics.csv").open() as file:
        return [{k: float(v) for k, v in row.items() if not k.startswith("time/")} for row in csv.DictReader(file)]


def comes_once(folder: Path) -> bool:
    """Tell whether each image was trained on once per epoch, where the steps after a checkpoint do not count."""
    steps: dict[tuple[int, int], tuple[int, list[int]]] = {}
    for file in sorted(folder.glob("seen_*.txt"), key=lambda path: int(path.stem.split("_")[1])):
        session = int(file.stem.split("_")[1])
        for line in file.read_text().splitlines():
            epoch, step, *images = map(int, line.split())
            before, seen = steps.get((epoch, step), (session, []))
            steps[epoch, step] = session, images + (seen if before == session else [])
    epochs: dict[int, Counter[int]] = {}
    for (epoch, _), (_, images) in steps.items():
        epochs.setdefault(epoch, Counter()).update(images)
    return len(epochs) == 3 and all(len(c) == _IMAGES and set(c.values()) == {1} for c in epochs.values())


def prepare(root: Path) -> Attempt:
    """Make trials that go on with one, two and four processes in turn."""
    whole = root / "whole"
    whole.mkdir()
    began = time.monotonic()
    finish(f"{LINE} --trainer.devices 2", whole, 0)
    length, expected = time.monotonic() - began, figures(whole)
    assert comes_once(whole)

    def attempt(number: int, folder: Path, moments: random.Random) -> tuple[bool, str] | None:
        running = start(f"{LINE} --trainer.devices 2", folder, 0)
        time.sleep(moments.uniform(0.3, 1) * length)
        if running.poll() is not None:
            return None
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        if not (folder / "lightning_logs/run/version_0/checkpoints/last.ckpt").exists():
            return None
        devices = (1, 2, 4)[number % 3]
        finish(f"--ckpt_path last --trainer.devices {devices}", folder, 1)
        pairs = list(zip(figures(folder), expected, strict=True))
        difference = max(abs(ours[key] - theirs[key]) for ours, theirs in pairs for key in theirs)
        return comes_once(folder) and difference <= 1e-6, f"{devices}, difference {difference:.1e}"

    return attempt


if __name__ == "__main__":
    trials.main(__doc__, prepare)
