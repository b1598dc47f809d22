"""Measure lit-vision against plain PyTorch loops: python scripts/benchmark.py [--data DIR] [--quick].

Both take turns, each time in a process of its own, so that a change of the machine's speed affects them alike. The
table shows medians.
"""

import argparse
import json
import os
import pickle
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple


class Options(NamedTuple):
    """Amounts to measure.

    Attributes:
        rounds: number of turns of each side.
        steps: number of training steps of notebook 1.
        cifar: number of CIFAR-10 images of each class for training; validation takes a fifth of it.
        pictures: number of images of each class in notebook 2, for training and for validation.
        photos: number of images to predict.
        large: number of photos of 12 megapixels.
        target: True to train until notebook 1's accuracy is reached.
    """

    rounds: int
    steps: int
    cifar: int
    pictures: int
    photos: int
    large: int
    target: bool


FULL = Options(rounds=3, steps=12_500, cifar=5000, pictures=1000, photos=10_000, large=60, target=True)
QUICK = Options(rounds=1, steps=1500, cifar=600, pictures=15, photos=500, large=4, target=False)
_EPOCHS = 5  # in notebook 2


class Data(NamedTuple):
    """Options, files and folders of the images.

    Attributes:
        cifar: options with which lit-vision reads CIFAR-10, or images of its size.
        splits: file with the same images and their labels, for the plain loops.
        ants_bees: folder with train/CLASS/* and val/CLASS/*.
        photos: folder with CLASS/*, the images to predict.
        large: folder with train/CLASS/*, photos of 12 megapixels.
        cache: folder for what lit-vision keeps on disk, in the rows that are about that; elsewhere, it keeps nothing.
    """

    cifar: list[str]
    splits: Path
    ants_bees: Path
    photos: Path
    large: Path
    cache: Path


class Row(NamedTuple):
    """A line of the table, with the figures of every round.

    Attributes:
        case: name of the measurement.
        unit: unit of the figures; more is better for images/s, less for all others.
        plain: figures of the notebooks' loop; empty if it has none.
        ours: figures of lit-vision.
        bare: figures of the bare loop; empty if it has none.
    """

    case: str
    unit: str
    plain: list[float]
    ours: list[float]
    bare: list[float]

    @property
    def speedup(self) -> float | None:
        """Speed of lit-vision as a multiple of the notebooks' loop; None if that has no figures."""
        if not self.plain:
            return None
        ratio = median(self.plain) / median(self.ours)
        return 1 / ratio if self.unit == "images/s" else ratio


_CALL = """
import importlib, pickle, sys
module, function, arguments, result = pickle.load(sys.stdin.buffer)
found = getattr(importlib.import_module(module), function)(*arguments)
with open(result, "wb") as file:
    pickle.dump(found, file)
"""


def alone(module: str, function: str, *arguments: Any) -> Any:
    """Call a function of a module in a new process.

    It does not use multiprocessing, which would change how the loaders in the function start their workers.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result"
        call = pickle.dumps((module, function, arguments, str(result)))
        paths = [str(Path(__file__).resolve().parent), os.environ.get("PYTHONPATH")]
        path = os.pathsep.join(filter(None, paths))  # an empty path would be the current folder
        subprocess.run([sys.executable, "-c", _CALL], input=call, env={**os.environ, "PYTHONPATH": path}, check=True)
        return pickle.loads(result.read_bytes())


def measure(data: Data, options: Options) -> list[Row]:
    """Measure every case on both sides in turns."""
    plain, ours = "bench.plain", "bench.ours"
    turns: list[tuple[str, str, tuple[Any, ...]]] = [
        (plain, "notebook_1", (data.splits, options.steps)),
        (ours, "notebook_1", (data.cifar, options.steps)),
        (plain, "bare_loop", (data.splits, options.steps)),
        *([(ours, "time_to_target", (data.cifar,))] if options.target else []),
        (plain, "notebook_2", (data.ants_bees, _EPOCHS)),
        (ours, "notebook_2", (data.ants_bees, _EPOCHS)),
        (plain, "loader", (data.splits,)),
        (ours, "loader", (data.splits,)),
        (plain, "predict", (data.photos,)),
        (ours, "predict", (data.photos,)),
        (plain, "beside", (data.splits,)),
        (ours, "beside", (data.cifar,)),
        (plain, "start", ()),
        (ours, "start", ()),
        (plain, "large", (data.large,)),
        (ours, "large", (data.large,)),
        (plain, "over_budget", (data.ants_bees,)),
        (ours, "over_budget", (data.ants_bees, data.cache)),
        (plain, "start_with_files", (data.photos,)),
        (ours, "start_with_files", (data.photos, data.cache)),
        (ours, "second_start_with_files", (data.photos, data.cache)),
    ]
    found: dict[tuple[str, str], list[Mapping[str, float]]] = {}
    for number in range(options.rounds):
        for module, function, arguments in turns if number % 2 == 0 else reversed(turns):
            started = time.time()
            clock = (started,) if "start" in function else ()
            found.setdefault((module, function), []).append(alone(module, function, *arguments, *clock))
            seconds = f"{time.time() - started:.1f} s"
            print(f"round {number + 1}/{options.rounds}  {module}.{function}  {seconds}", file=sys.stderr, flush=True)

    def figures(module: str, function: str, key: str) -> list[float]:
        return [figure[key] for figure in found.get((module, function), ()) if key in figure]

    def row(case: str, unit: str, function: str, key: str, bare: Sequence[float] = ()) -> Row:
        return Row(case, unit, figures(plain, function, key), figures(ours, function, key), list(bare))

    rows = [
        row("notebook 1, training step", "ms", "notebook_1", "step", figures(plain, "bare_loop", "step")),
        row("notebook 1, validation", "s", "notebook_1", "validation"),
        row(f"notebook 1, {options.steps:,} steps and validation", "s", "notebook_1", "epoch"),
        row(f"notebook 2, {_EPOCHS} epochs", "s", "notebook_2", "fit"),
        row("images ready for the network, batches of 512", "images/s", "loader", "512"),
        row("images ready for the network, a batch of 4", "ms", "loader", "4"),
        row("the loader alone, batches of 512", "images/s", "loader", "alone 512"),
        row("the loader alone, a batch of 4", "ms", "loader", "alone 4"),
        row("predict", "images/s", "predict", "files"),
        row("a step in batches of 32, alone", "ms", "beside", "0"),
        row("a step in batches of 32, beside a busy process", "ms", "beside", "1"),
        row("a step in batches of 32, beside four busy processes", "ms", "beside", "4"),
        row("start of the process to the first batch", "s", "start", "first batch"),
        row("photos of 12 megapixels to 224 pixels", "images/s", "large", "files"),
        row("an epoch of 224-pixel images above the budget", "images/s", "over_budget", "images"),
        row("start with image files, first run", "s", "start_with_files", "first batch"),
    ]
    second = figures(ours, "second_start_with_files", "first batch")
    rows.append(Row("start with image files, second run", "s", rows[-1].plain, second, []))
    if options.target:
        five_epochs = [5 * seconds for seconds in rows[2].plain]
        reached = figures(ours, "time_to_target", "fit")
        rows.insert(3, Row("notebook 1, five plain epochs or val/acc 0.606", "s", five_epochs, reached, []))
    return [*rows, row("notebook 1, peak memory", "GB", "notebook_1", "peak memory")]


def table(rows: Sequence[Row]) -> str:
    """Format the medians and their ratios as a table."""

    def cell(figures: Sequence[float], unit: str) -> str:
        return f"{median(figures):,.{0 if unit == 'images/s' else 2}f} {unit}" if figures else ""

    lines: list[tuple[str, ...]] = [("", "plain loop", "lit-vision", "ratio", "bare loop", "lit-vision is")]
    for row in rows:
        of_bare = f"{median(row.ours) / median(row.bare):.2f} of it" if row.bare else ""
        cells = [cell(figures, row.unit) for figures in (row.plain, row.ours, row.bare)]
        lines.append((row.case, *cells[:2], f"{row.speedup:.1f}x" if row.speedup else "", cells[2], of_bare))
    widths = [max(len(line[column]) for line in lines) for column in range(6)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def machine() -> dict[str, Any]:
    """Describe the machine, and the versions of Python and the packages."""
    import torch

    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("lit-vision", "torch", "torchvision", "lightning")},
    }


def main() -> None:
    """Measure, print the table and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        help="folder with hymenoptera_data and either cifar-10-batches-py or cifar10/; by default, images are made",
    )
    parser.add_argument("--quick", action="store_true", help="run one short round, in two to three minutes")
    parser.add_argument(
        "--cifar94",
        action="store_true",
        help="measure only cifar94.yaml, as a share of what the recipe of its paper would take on this machine; with "
        "--quick from a few steps",
    )
    parser.add_argument("--rounds", type=int, help="number of turns of each side; by default, 3, or 1 with --quick")
    parser.add_argument(
        "--output", type=Path, default=Path("benchmark.json"), help="JSON file for the figures of every round"
    )
    args = parser.parse_args()
    options = QUICK if args.quick else FULL._replace(target=args.data is not None)  # drawn shapes are too easy
    options = options._replace(rounds=args.rounds or options.rounds)
    if args.cifar94:
        options = options._replace(pictures=2, photos=2, large=2)
    data = args.data.resolve() if args.data else None
    with tempfile.TemporaryDirectory() as folder:
        made = Data(
            *alone(
                "bench.images",
                "prepare",
                *(data, options.cifar, options.pictures, options.photos, options.large, Path(folder)),
            )
        )
        if args.cifar94:
            text, figures = alone("bench.cifar94", "measure", made.cifar, 3 if args.quick else 8, not args.quick)
        else:
            rows = measure(made, options)
            text, figures = table(rows), [{**row._asdict(), "speedup": row.speedup} for row in rows]
    about = alone("benchmark", "machine")
    args.output.write_text(json.dumps({"machine": about, "options": options._asdict(), "rows": figures}, indent=1))
    print(text)
    print(", ".join(f"{name} {value}" for name, value in about.items() if value))


if __name__ == "__main__":
    main()
