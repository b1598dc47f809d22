import argparse
import csv
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tqdm import tqdm

from lit_vision.data.batch import evenly_spaced
from lit_vision.data.listing import LeftOut, list_folder, summarize
from lit_vision.data.transforms import to_float
from lit_vision.errors import UserError
from lit_vision.models import Classifier
from lit_vision.models.calibration import Doubts, check_accept, needed_calibration
from lit_vision.models.heatmap import heatmaps, overlay
from lit_vision.models.predictor import Prediction, predictions
from lit_vision.parsing.arguments import ACCEPT, simple_parser, true_false_or_number, true_or_false
from lit_vision.parsing.trained import load_trained
from lit_vision.plots import BLACK, RED, Tile, as_png, plot_grid
from lit_vision.utils.bars import progress_bar
from lit_vision.utils.files import atomic_write, check_output, ensure_writable, write_whole
from lit_vision.utils.fonts import shown_names
from lit_vision.utils.log import log_info
from lit_vision.utils.text import as_cell, printable

_GRID = 64  # images, evenly spaced: folders are often sorted by class
_SIDE = 192  # pixels of a picture in the grid
_ACCEPT = 0.95
_HEATMAP = (
    "Folder to write a picture of each image to, with what speaks for the best guess laid over it (LayerCAM), under "
    "the names of the images."
)


def predict_parser() -> argparse.ArgumentParser:
    """The options of ``lit-vision predict``."""
    parser = simple_parser("predict", "Classify images with a trained network.")
    add = parser.add_argument
    add(
        "--images",
        nargs="+",
        required=True,
        metavar="FILE_OR_FOLDER",
        help="Images to classify: files or folders. A folder stands for all images in it and in its subfolders.",
    )
    add(
        "--output",
        metavar="FILE",
        help="CSV file to write. Its columns are path, label, probability, probability_CLASS for each class, and "
        "error, the reason why an image could not be read; with --unsure true also unsure. Default: print the guesses "
        "for each image instead.",
    )
    add("--heatmap", metavar="FOLDER", help=_HEATMAP)
    add("--grid", metavar="FILE", help="PNG file to write, with 64 of the images and the best guess for each.")
    add("--top", type=int, default=3, metavar="N", help="Number of guesses to print for each image. Default: 3.")
    add("--device", help="Device to compute on, such as cpu or cuda:1. Default: the accelerator, otherwise cpu.")
    add(
        "--model.tta",
        dest="tta",
        type=true_false_or_number,
        metavar="{true,false,P}",
        help="Average over six views of each image (test-time augmentation), or, with a number, of each image whose "
        "highest probability is below it. Default: the network's own setting.",
    )
    add(
        "--unsure",
        type=true_or_false,
        default=False,
        metavar="{true,false}",
        help="Say which images the network is unsure of, and why: a column more, unsure, empty for the others.",
    )
    add(
        "--accept",
        type=float,
        help=f"{ACCEPT} With --unsure true. Default: {_ACCEPT}, or less if the validation images are too few for that.",
    )
    return parser


def predict(words: list[str]) -> int:
    """Classify images with a trained network.

    Args:
        words: the command line after ``predict``.

    Returns:
        0, or 1 if an image could not be read.

    Raises:
        UserError: a checkpoint, file or device does not exist, a folder has no images, or a file cannot be written.
    """
    options = predict_parser().parse_args(words)
    if options.top < 1:
        raise UserError(f"top {options.top} is too small: set --top to 1 or more")
    model, checkpoint = load_trained(options.ckpt_path, options.name, options.model)
    if options.accept is not None:
        check_accept(options.accept)
        if not options.unsure:
            raise UserError("accept says when the network is unsure: add --unsure true, or leave --accept out")
    doubts = (
        Doubts(needed_calibration(model.calibration, checkpoint), options.accept or _ACCEPT, options.accept is None)
        if options.unsure
        else None
    )
    paths = _find_images([Path(image) for image in options.images])
    for option, file, suffix in (("--output", options.output, None), ("--grid", options.grid, ".png")):
        if file is not None:
            check_output(Path(file), option, suffix)
            if any(Path(file).exists() and path.samefile(file) for path in paths):
                raise UserError(f"{file} is one of the images: set {option} to another file")
    if options.heatmap is not None:
        _check_apart(Path(options.heatmap), [Path(image) for image in options.images])
        ensure_writable(Path(options.heatmap), "--heatmap")
    found = progress_bar(None, len(paths), predictions(model, paths, options.device, options.tta, options.unsure))
    if options.heatmap is not None:
        found = _with_heatmaps(found, model, Path(options.heatmap), paths)
    unreadable = _report(found, model.class_names, len(paths), options, doubts)
    log_info(f"checkpoint {checkpoint}")
    return 1 if unreadable else 0


def _check_apart(heatmaps: Path, images: Sequence[Path]) -> None:
    """Check that no heatmap is written among the images, or in the place of one."""
    folders = [path if path.is_dir() else path.parent for path in images]
    for folder in folders:
        if heatmaps.resolve().is_relative_to(folder.resolve()) and (folder.is_dir() and folder in images):
            raise UserError(f"{heatmaps} is in the folder of the images {folder}: set --heatmap to another folder")
        if heatmaps.resolve() == folder.resolve():
            raise UserError(f"{heatmaps} has images in it: set --heatmap to another folder")


def _with_heatmaps(
    found: Iterable[Prediction], model: Classifier, folder: Path, paths: Sequence[Path]
) -> Iterator[Prediction]:
    """Write a heatmap of each image to a folder, under its path below the folder that all images are in."""
    above = os.path.commonpath([path.absolute().parent for path in paths])
    mean, std = (torch.tensor(scale)[:, None, None] for scale in (model.input_spec.mean, model.input_spec.std))
    for prediction in found:
        if prediction.image is not None:
            image = ((to_float(prediction.image) - mean) / std)[None]
            best = torch.tensor(prediction.probabilities).argmax()[None]
            picture = overlay(prediction.image, heatmaps(model, image, best)[0])
            path = folder / f"{os.path.relpath(prediction.path.absolute(), above)}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, as_png(Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy())))
        yield prediction
    log_info(f"heatmaps {folder}")


def _report(
    found: Iterable[Prediction],
    class_names: Sequence[str],
    count: int,
    options: argparse.Namespace,
    doubts: Doubts | None,
) -> int:
    """Print and write predictions as they come, and return the number of unreadable images."""
    tiles: list[Tile] = []
    shown = dict(zip(class_names, shown_names(class_names) if options.grid else class_names, strict=True))
    unreadable = 0
    in_grid = set(evenly_spaced(count, _GRID).tolist()) if options.grid is not None else set()
    with _table(options.output, class_names, options.unsure) as table:
        for number, prediction in enumerate(found):
            path, image, probabilities, error, _ = prediction
            unsure = (
                doubts.about(prediction.probabilities, prediction.distance)
                if doubts is not None and image is not None
                else ""
            )
            more = [unsure] if options.unsure else []
            if image is None:
                unreadable += 1
                tqdm.write(f"warning: {error}", file=sys.stderr)
                if table is not None:
                    table.writerow([as_cell(str(path)), *[""] * (2 + len(class_names)), as_cell(error), *more])
                continue
            guesses = sorted(zip(probabilities, class_names, strict=True), key=lambda guess: -guess[0])
            probability, label = guesses[0]
            if table is not None:
                table.writerow([as_cell(str(path)), as_cell(label), probability, *probabilities, "", *more])
            if count == 1 or options.output is None:
                guessed = [f"{label} {probability:.1%}" for probability, label in guesses[: options.top]]
                guessed += [f"unsure: {unsure}"] if unsure else []
                tqdm.write(
                    "\n".join(guessed) if count == 1 else f"{printable(str(path))}  {', '.join(guessed)}",
                    file=sys.stdout,
                )
            if number in in_grid:
                lines = [
                    f"{shown[label]} {probability:.0%}",
                    *(f"unsure: {reason}" for reason in unsure.split("; ") if reason),
                    printable(path.name),
                ]
                tiles.append(Tile(image, lines, RED if unsure else BLACK))
    if options.output is not None:
        print(f"{options.output}: {count:,} images")
    if options.grid is not None and tiles:
        write_whole(Path(options.grid), as_png(plot_grid(tiles, side=_SIDE)))
        print(f"{options.grid}: {len(tiles)} images")
    return unreadable


def _find_images(images: Sequence[Path]) -> list[Path]:
    """List the files that are meant, and say how many there are and what is left out of folders."""
    paths: list[Path] = []
    left_out: list[LeftOut] = []
    for path in images:
        if path.is_dir():
            folder = list_folder(path)
            found = folder.all_images()
            left_out += [left for inner in folder.walk() for left in inner.left_out]
            if not found:
                why = f" ({summarize(left_out, path)})" if left_out else ""
                raise UserError(f"{path} has no images in it{why}: set --images to files, or to a folder with images")
            paths += [Path(image.path) for image in found]
        elif path.exists():
            paths.append(path)
        else:
            raise UserError(f"there is no {path}: set --images to files or folders that exist")
    if any(path.is_dir() for path in images):
        log_info(f"{len(paths):,} {'image' if len(paths) == 1 else 'images'}")
    if left_out:
        log_info(f"left out: {summarize(left_out, Path.cwd())}")
    return paths


@contextmanager
def _table(path: str | None, class_names: Sequence[str], unsure: bool) -> Iterator[Any]:
    """Yield a CSV writer, or None without a path; with a column more for what the network is unsure of."""
    if path is None:
        yield None
        return
    # a file name may hold any bytes, which are written unchanged
    with (
        atomic_write(Path(path)) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        # with the prefix, no class can have the name of another column
        columns = ["path", "label", "probability", *(f"probability_{name}" for name in class_names), "error"]
        writer.writerow([*columns, "unsure"] if unsure else columns)
        yield writer
