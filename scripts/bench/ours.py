"""The benchmark's measurements of lit-vision, as its users run it.

Each function is meant to be called in a process of its own.
"""

import csv
import os
import re
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import ClassVar

# isort: off
import lit_vision  # noqa: F401  # before torch, as in every command: it sets how OpenMP's threads wait

# isort: on
import torch
from lightning.pytorch import Callback

from bench.load import BESIDE, busy_processes
from lit_vision.cli import main
from lit_vision.data import ImageFolderDataModule
from lit_vision.data.batch import Batch
from lit_vision.data.decode_ahead import decode_all
from lit_vision.data.images import ImageFiles
from lit_vision.data.listing import list_folder
from lit_vision.data.loader import BatchLoader
from lit_vision.data.transforms import normalize, to_float
from lit_vision.models import SmallCNN
from lit_vision.models.predictor import predictions
from lit_vision.utils.memory import keep_freed_memory

os.environ["LIT_VISION_CACHE"] = "none"  # so that no figure depends on an earlier one

TARGET = 0.606
"""Accuracy that notebook 1 reports."""


def fit(arguments: Sequence[str]) -> tuple[list[dict[str, str]], float]:
    """Run ``lit-vision fit``; return the rows of metrics.csv and the seconds that it says it took."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
            code = main(["fit", "--name", "run", *arguments])
        if code:
            raise RuntimeError(f"lit-vision fit {' '.join(arguments)} exited with {code}: {err.getvalue()}")
        with open("lightning_logs/run/version_0/metrics.csv") as table:
            rows = list(csv.DictReader(table))
        os.chdir("/")
    return rows, float(re.findall(r"^time +([\d.]+) s$", out.getvalue(), re.MULTILINE)[0])


def notebook_1(arguments: Sequence[str], steps: int) -> dict[str, float]:
    """Measure notebook 1's recipe with everything that a run on a terminal shows and writes."""
    shown = ["--trainer.callbacks", "EpochBar", "--trainer.enable_progress_bar", "true"]
    limit = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", str(steps)]
    row = fit(["--config", "cifar.yaml", *arguments, "--data.val_size", "0", *shown, *limit])[0][0]
    epoch, train = float(row["time/epoch"]), 4 * steps / float(row["time/images_per_second"])
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    return {"step": 1000 * train / steps, "validation": epoch - train, "epoch": epoch, "peak memory": peak}


def time_to_target(arguments: Sequence[str]) -> dict[str, float]:
    """Measure cifar_fast.yaml until its validation reaches notebook 1's accuracy."""
    stop = ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor", "val/acc"]
    stop += ["--trainer.callbacks.mode", "max", "--trainer.callbacks.patience", "1000"]
    stop += ["--trainer.callbacks.stopping_threshold", str(TARGET)]
    rows = fit(["--config", "cifar_fast.yaml", *arguments, *stop])[0]
    if float(rows[-1]["val/acc"]) < TARGET:
        raise RuntimeError(f"cifar_fast.yaml ended with val/acc {rows[-1]['val/acc']}, below {TARGET}")
    return {"fit": sum(float(row["time/epoch"]) for row in rows)}


def notebook_2(folder: Path, epochs: int) -> dict[str, float]:
    """Measure notebook 2's recipe, from the files to the checkpoints."""
    data = ["--data", "ImageFolderDataModule", "--data.root", str(folder), "--data.image_size", "224"]
    more = ["--model.weights", "null", "--trainer.max_epochs", str(epochs)]
    return {"fit": fit(["--config", "hymenoptera.yaml", *data, *more])[1]}


def loader(splits: Path) -> dict[str, float]:
    """Measure the loader with up to 20,000 training images.

    Returns:
        512: images per second in batches of 512, as normalised float32; 4: milliseconds for a batch of 4; alone 512 and
        alone 4: the same for the loader by itself, which gives uint8.
    """
    images, labels = torch.load(splits, weights_only=True)["train"]
    batches = partial(BatchLoader, images[:20_000], labels[:20_000], seed=0)
    size = min(20_000, len(labels))
    mean = std = torch.full((3, 1, 1), 0.5)
    keep_freed_memory()  # as every command does
    found = {}
    for batch_size in (512, 4):
        start = time.perf_counter()
        for batch in batches(batch_size):
            assert isinstance(batch, Batch)
            normalize(to_float(batch.image), mean, std)
        found[f"{batch_size}"] = (time.perf_counter() - start) / size
        start = time.perf_counter()
        for _ in batches(batch_size):
            pass
        found[f"alone {batch_size}"] = (time.perf_counter() - start) / size
    return {name: 1 / seconds if "512" in name else 4000 * seconds for name, seconds in found.items()}


def predict(folder: Path) -> dict[str, float]:
    """Measure predictions for a folder with CLASS/*."""
    model, files = SmallCNN(), [Path(image.path) for image in list_folder(folder).all_images()]
    start = time.perf_counter()
    for _ in predictions(model, files):
        pass
    return {"files": len(files) / (time.perf_counter() - start)}


def beside(arguments: Sequence[str]) -> dict[str, float]:
    """Measure training in batches of 32, alone and while other processes want the same cores.

    Returns:
        0, 1 and 4: milliseconds for a step beside as many busy processes.
    """
    found = {}
    for others, steps in BESIDE.items():
        limits = ["--trainer.limit_train_batches", str(steps), "--trainer.limit_val_batches", "0"]
        limits += ["--data.batch_size", "32", "--trainer.max_epochs", "1"]
        with busy_processes(others):
            row = fit(["--config", "cifar.yaml", *arguments, "--data.val_size", "0", *limits])[0][0]
        found[str(others)] = 1000 * 32 / float(row["time/images_per_second"])
    return found


class FirstBatch(Callback):
    """Records the times at which training batches arrive, the first of them first."""

    times: ClassVar[list[float]] = []

    def on_train_batch_start(self, *_: object) -> None:
        """Record the time."""
        self.times.append(time.time())


def large(folder: Path) -> dict[str, float]:
    """Measure the decoding of photos in a folder with train/CLASS/* to 224 pixels.

    Returns:
        files: images per second.
    """
    files = [Path(image.path) for image in list_folder(folder).all_images()]
    begin = time.perf_counter()
    decode_all(ImageFiles(files, 224, "stretch"), os.cpu_count() or 1)
    return {"files": len(files) / (time.perf_counter() - begin)}


def over_budget(folder: Path, cache: Path) -> dict[str, float]:
    """Measure the second epoch of a loader over images of 224 pixels that exceed the memory budget.

    Args:
        folder: folder with train/CLASS/* and val/CLASS/*.
        cache: folder of the disk cache.

    Returns:
        images: images per second.
    """
    data = ImageFolderDataModule(folder, image_size=224, seed=0, memory_budget=0, cache=cache)
    data.setup("fit")
    loader = data.train_dataloader()
    for _ in range(2):
        begin = time.perf_counter()
        for batch in loader:
            assert isinstance(batch, Batch)
            data.preprocess(batch, 0)
    return {"images": len(loader.labels) / (time.perf_counter() - begin)}


def start_with_files(folder: Path, cache: Path, started: float) -> dict[str, float]:
    """Measure the seconds from the start of the process to the first training batch of a set that was never used.

    Args:
        folder: folder with CLASS/*.
        cache: folder of the disk cache.
        started: time at which the process was started, by ``time.time``.
    """
    shutil.rmtree(cache, ignore_errors=True)
    return second_start_with_files(folder, cache, started)


def second_start_with_files(folder: Path, cache: Path, started: float) -> dict[str, float]:
    """Measure the same as :func:`start_with_files` for a set that was used before."""
    watch = ["--trainer.callbacks+=bench.ours.FirstBatch", "--data.cache", str(cache)]
    data = ["--data", "ImageFolderDataModule", "--data.root", str(folder), "--data.val_size", "0.2"]
    FirstBatch.times.clear()
    fit(["--config", "shapes.yaml", *data, "--trainer.max_epochs", "1", *watch])
    return {"first batch": FirstBatch.times[0] - started}


def start(started: float) -> dict[str, float]:
    """Measure the seconds from the start of the process to the first training batch.

    Args:
        started: time at which the process was started, by ``time.time``.
    """
    watch = ["--trainer.callbacks+=bench.ours.FirstBatch"]
    fit(["--config", "shapes.yaml", "--data.train_size", "1064", "--trainer.max_epochs", "1", *watch])
    return {"first batch": FirstBatch.times[0] - started}
