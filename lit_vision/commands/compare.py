import argparse
from pathlib import Path

from lit_vision.errors import UserError
from lit_vision.insight.intervals import mcnemar, with_interval
from lit_vision.insight.predictions import read_predictions
from lit_vision.parsing.arguments import bare_parser
from lit_vision.runs import CHECKPOINTS, PREDICTIONS, REPORT, REPORT_VAL, logs_folder

_SURE = 0.05
_REPORTS = {"test": REPORT, "val": REPORT_VAL}


def compare_parser() -> argparse.ArgumentParser:
    """The options of ``lit-vision compare``."""
    parser = bare_parser("compare", "Say whether two runs differ on the same images.")
    parser.add_argument(
        "runs",
        nargs=2,
        metavar="RUN",
        help="A run, such as shapes/version_0, its folder, or one of its checkpoints. Both must have a report, which "
        "test and validate write.",
    )
    parser.add_argument("--split", choices=_REPORTS, help="Reports to compare. Default: test if both have it, or val.")
    return parser


def compare(words: list[str]) -> None:
    """Say whether two runs differ on the same images, by McNemar's test.

    Args:
        words: the command line after ``compare``.

    Raises:
        UserError: a run or its report does not exist, or the reports are not of the same images.
    """
    options = compare_parser().parse_args(words)
    folders = [_checkpoints(run) for run in options.runs]
    split = options.split or next((name for name in _REPORTS if all(_has(folder, name) for folder in folders)), "test")
    first, second = (read_predictions(folder / _REPORTS[split]) for folder in folders)
    if not (common := first.keys() & second.keys()):
        raise UserError(f"the reports have no image in common: run lit-vision {_command(split)} on the same images")
    if changed := sorted(image for image in common if first[image].label != second[image].label):
        raise UserError(
            f"{changed[0]} has the label {first[changed[0]].label} for one run and {second[changed[0]].label} for the "
            f"other: run lit-vision {_command(split)} again on the same images"
        )
    left_out = len(first) + len(second) - 2 * len(common)
    more = f"; {left_out:,} that only one run has are left out" if left_out else ""
    print(f"images      {len(common):,} of {split}{more}")
    right = [{image for image in common if found[image].is_right} for found in (first, second)]
    for name, run, good in zip(("first", "second"), options.runs, right, strict=True):
        print(f"{name:<11} {with_interval(len(good) / len(common), len(common))}, {run}")
    only = [len(right[0] - right[1]), len(right[1] - right[0])]
    print(f"only right  {only[0]:,} in the first, {only[1]:,} in the second")
    p = mcnemar(*only)
    verdict = "they differ" if p < _SURE else "this may be chance"
    print(f"difference  {(len(right[1]) - len(right[0])) / len(common):+.4f}: {verdict} (McNemar's test, p {p:.2g})")


def _command(split: str) -> str:
    return "test" if split == "test" else "validate"


def _has(checkpoints: Path, split: str) -> bool:
    return (checkpoints / _REPORTS[split] / PREDICTIONS).is_file()


def _checkpoints(run: str) -> Path:
    """The folder of the checkpoints of a run, which has its reports."""
    for path in (Path(run), logs_folder(None) / run):
        if path.is_file():
            return path.parent
        for folder in (path / CHECKPOINTS, path):
            if folder.is_dir() and any(_has(folder, split) for split in _REPORTS):
                return folder
        if (path / CHECKPOINTS).is_dir():
            raise UserError(f"{run} has no report: run lit-vision test or validate on one of its checkpoints")
    raise UserError(f"there is no run {run}: name one of those that lit-vision runs lists, or a checkpoint")
