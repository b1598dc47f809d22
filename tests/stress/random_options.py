"""Try random options of the Trainer: python tests/stress/random_options.py [--count 300] [--seed 0].

Each trial is a small fit with one to four options at values that nobody expects. It must end with 0, or with 2 and one
line on stderr; a run that was asked to have no end must end with 143 when it gets SIGTERM.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch  # noqa: F401

import lit_vision.commands.fit  # noqa: F401  # once, not in every process
from lit_vision.cli import main

BASE = "fit --config shapes.yaml --data.train_size 60 --data.val_size 20 --data.batch_size 10 --trainer.max_epochs 2"
EDGES = ("0", "1", "-1", "1000000000", "null", "true", "abc", "0.5", "[]", "1e9", "")
OPTIONS: dict[str, tuple[str, ...]] = {
    "accelerator": ("cpu", "gpu", "cuda", "mps", "tpu", "auto"),
    "accumulate_grad_batches": ("3",),
    "barebones": (),
    "benchmark": (),
    "check_val_every_n_epoch": ("2",),
    "default_root_dir": ("out", "/dev/null", "/proc/x"),
    "detect_anomaly": (),
    "deterministic": ("warn",),
    "devices": ("auto", "[0]"),
    "enable_autolog_hparams": (),
    "enable_checkpointing": (),
    "enable_model_summary": (),
    "enable_progress_bar": (),
    "fast_dev_run": ("3",),
    "gradient_clip_algorithm": ("norm", "value"),
    "gradient_clip_val": ("1.5",),
    "inference_mode": (),
    "limit_predict_batches": (),
    "limit_test_batches": (),
    "limit_train_batches": ("2", "0.001", "0.99"),
    "limit_val_batches": ("2", "0.001"),
    "log_every_n_steps": ("3",),
    "logger": ("CSVLogger", "TensorBoardLogger", "WandbLogger", "[]"),
    "max_epochs": ("3",),
    "max_steps": ("7",),
    "max_time": ("00:00:00:00", "00:00:01:00", "1:2", "{seconds: 3}"),
    "min_epochs": ("3",),
    "min_steps": ("7",),
    "model_registry": (),
    "num_nodes": ("2",),
    "num_sanity_val_steps": ("2",),
    "overfit_batches": ("2", "0.3"),
    "plugins": ("MixedPrecision", "[]"),
    "precision": ("16-mixed", "bf16-mixed", "bf16-true", "64-true", "32", "16", "transformer-engine"),
    "profiler": ("simple", "advanced", "pytorch"),
    "reload_dataloaders_every_n_epochs": ("2",),
    "strategy": ("ddp", "ddp_spawn", "fsdp", "deepspeed", "auto", "single_device", "ddp_find_unused_parameters_true"),
    "sync_batchnorm": (),
    "use_distributed_sampler": (),
    "val_check_interval": ("2", "0.25", "3.5", "00:00:00:01"),
    "callbacks": (
        "EarlyStopping",
        "ModelCheckpoint",
        "LearningRateMonitor",
        "Timer",
        "RichProgressBar",
        "ModelSummary",
    ),
}
_PATIENCE = 12  # seconds until a run without an end is stopped


class Trial(NamedTuple):
    """What became of a command: its options, exit code, stderr, and whether it ended well."""

    options: list[tuple[str, str]]
    code: int
    err: str
    seconds: float

    @property
    def went_well(self) -> bool:
        """Whether the exit code and stderr are as they must be."""
        lines = [line for line in self.err.splitlines() if "Warning" not in line]
        if self.code == 2:
            return len(lines) == 1 and lines[0].startswith("error: ")
        return self.code in (0, 143) and "Traceback" not in self.err


def draw(rng: random.Random) -> list[tuple[str, str]]:
    """Draw one to four options with values."""
    names = rng.sample(sorted(OPTIONS), rng.randint(1, 4))
    return [(name, rng.choice([*OPTIONS[name], *OPTIONS[name], *EDGES])) for name in names]


def run(options: Sequence[tuple[str, str]], folder: Path) -> Trial:
    """Run a fit in a process of its own."""
    words = BASE.split()
    for name, value in options:
        words += [f"--trainer.{name}", value]
    start = time.monotonic()
    process = os.fork()  # which saves the seconds of importing everything again
    if not process:
        os.chdir(folder)
        for stream, name in ((1, "out.txt"), (2, "err.txt")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), stream)
        code = 1
        try:
            code = main(words)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
    status = wait(process, start)
    return Trial(list(options), status, (folder / "err.txt").read_text(), time.monotonic() - start)


def wait(process: int, start: float) -> int:
    """Wait for the end of a process, which is asked for if it does not come; gives the exit code."""
    asked = False
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - start
        if seconds > _PATIENCE and not asked:
            asked = True
            os.kill(process, signal.SIGTERM)
        if seconds > 3 * _PATIENCE:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.02)


def try_options(count: int, seed: int, report: bool = False) -> list[Trial]:
    """Try so many random combinations; gives those that did not end as they must."""
    rng, trials = random.Random(seed), []
    for number in range(count):
        with tempfile.TemporaryDirectory() as folder:
            trial = run(draw(rng), Path(folder))
        trials.append(trial)
        if report:
            line = " ".join(f"--trainer.{name} {value}" for name, value in trial.options)
            print(f"{number:3} {'' if trial.went_well else 'WRONG'} {trial.code:3} {trial.seconds:4.1f} s  {line}")
            print(f"      {trial.err.strip()[-600:]}" if trial.err else "", flush=True)
    if report:
        print(Counter(trial.code for trial in trials))
    return [trial for trial in trials if not trial.went_well]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    wrong = try_options(given.count, given.seed, report=True)
    print(f"seed {given.seed}: {len(wrong)} of {given.count} wrong")
    sys.exit(bool(wrong))
