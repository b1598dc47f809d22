"""Measure lit-vision against plain PyTorch loops: python scripts/benchmark.py [--data DIR] [--quick].

Both take turns, each time in a process of its own, so that a machine's moods hit them alike. What counts are medians.
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
    """How much is measured.

    Attributes:
        rounds: turns of each.
        steps: of notebook 1.
        cifar: its images of each class in train; in val a fifth of that.
        pictures: of notebook 2, of each class in train and in val.
        photos: to predict.
        target: whether to train until notebook 1's accuracy is reached.
    """

    rounds: int
    steps: int
    cifar: int
    pictures: int
    photos: int
    target: bool


FULL = Options(rounds=3, steps=12_500, cifar=5000, pictures=1000, photos=10_000, target=True)
QUICK = Options(rounds=1, steps=1500, cifar=600, pictures=15, photos=500, target=False)
_EPOCHS = 5  # of notebook 2


class Data(NamedTuple):
    """Where the images are.

    Attributes:
        cifar: the options of lit-vision that read CIFAR-10, or something of its size.
        splits: file with its images and labels, for the loops that are not lit-vision's.
        ants_bees: folder with train/CLASS/* and val/CLASS/*.
        photos: folder with CLASS/*, to predict.
    """

    cifar: list[str]
    splits: Path
    ants_bees: Path
    photos: Path


class Row(NamedTuple):
    """A line of the table: figures of every round.

    Attributes:
        case: what is measured.
        unit: of the figures; of images/s more is better, of all else less.
        plain: by the notebooks' loop, if it does such a thing.
        ours: by lit-vision.
        bare: by the bare loop, where there is one.
    """

    case: str
    unit: str
    plain: list[float]
    ours: list[float]
    bare: list[float]

    @property
    def speedup(self) -> float | None:
        """How many times as fast as the notebooks' loop."""
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

    Not by multiprocessing, which would also change how the loaders in there start their workers.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result"
        call = pickle.dumps((module, function, arguments, str(result)))
        paths = [str(Path(__file__).resolve().parent), os.environ.get("PYTHONPATH")]
        path = os.pathsep.join(filter(None, paths))  # an empty one would be the current folder
        subprocess.run([sys.executable, "-c", _CALL], input=call, env={**os.environ, "PYTHONPATH": path}, check=True)
        return pickle.loads(result.read_bytes())


def measure(data: Data, options: Options) -> list[Row]:
    """Take turns with every case."""
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
        (plain, "start", ()),
        (ours, "start", ()),
    ]
    found: dict[tuple[str, str], list[Mapping[str, float]]] = {}
    for number in range(options.rounds):
        for module, function, arguments in turns if number % 2 == 0 else reversed(turns):
            started = time.time()
            clock = (started,) if function == "start" else ()
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
        row("start of the process to the first batch", "s", "start", "first batch"),
    ]
    if options.target:
        five_epochs = [5 * seconds for seconds in rows[2].plain]
        reached = figures(ours, "time_to_target", "fit")
        rows.insert(3, Row("notebook 1, five plain epochs or val/acc 0.606", "s", five_epochs, reached, []))
    return [*rows, row("notebook 1, peak memory", "GB", "notebook_1", "peak memory")]


def table(rows: Sequence[Row]) -> str:
    """The medians, and how they compare."""

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
    """What it runs on, and in which versions."""
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
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with hymenoptera_data and cifar-10-batches-py or cifar10/")
    parser.add_argument("--quick", action="store_true", help="one short round, in less than two minutes")
    parser.add_argument("--rounds", type=int, help="turns of each")
    parser.add_argument("--output", type=Path, default=Path("benchmark.json"), help="the figures of every round")
    args = parser.parse_args()
    options = QUICK if args.quick else FULL._replace(target=args.data is not None)  # drawn shapes are too easy
    options = options._replace(rounds=args.rounds or options.rounds)
    data = args.data.resolve() if args.data else None
    with tempfile.TemporaryDirectory() as folder:
        made = Data(
            *alone("bench.images", "prepare", data, options.cifar, options.pictures, options.photos, Path(folder))
        )
        rows = measure(made, options)
    about = alone("benchmark", "machine")
    figures = [{**row._asdict(), "speedup": row.speedup} for row in rows]
    args.output.write_text(json.dumps({"machine": about, "options": options._asdict(), "rows": figures}, indent=1))
    print(table(rows))
    print(", ".join(f"{name} {value}" for name, value in about.items() if value))


if __name__ == "__main__":
    main()
