"""What several tests share."""

import csv
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

REPOSITORY = Path(__file__).resolve().parents[1]
EXECUTABLE = Path(sys.executable).with_name("lit-vision")
RUN = Path("lightning_logs/shapes/version_0")
QUICK = "--data.train_size 300 --data.val_size 100 --data.test_size 100 --trainer.accelerator cpu --trainer.max_epochs"
TINY = "fit --config shapes.yaml --data.train_size 400 --data.val_size 100"


class Result(NamedTuple):
    code: int
    out: str
    err: str


def run(command: Sequence[str | Path], **env: str) -> Result:
    """Run a program to its end."""
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env}, timeout=300, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


def metrics_in(text: str) -> dict[str, float]:
    """The table that validate and test print."""
    return {name: float(value) for name, value in re.findall(r"((?:val|test)/\w+)\W+([\d.]+)", text)}


def rows_of(run: Path, timings: bool = False) -> list[dict[str, str]]:
    """metrics.csv of a run, without what differs between two of the same."""
    with (run / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if timings or not k.startswith("time/")} for row in csv.DictReader(file)]


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    return torch.load(checkpoint, weights_only=True)["state_dict"]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
