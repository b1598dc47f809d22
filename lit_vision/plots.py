"""Pictures of what was learned: curves, grids of images with captions, the confusion matrix."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # takes a while to import, and only some commands need it

CHARTS = {"loss": "loss", "accuracy": "acc"}
"""Title of a chart, and what the tags of its curves end with."""

BLACK, GREEN, RED = "#1f2328", "#1a7f37", "#cf222e"

_SIDE, _GAP, _FONT_SIZE, _LINE = 128, 6, 14, 18  # pixels
_WIDTH = 1200  # pixels of a grid, so that a browser shows it whole, unless a single line is longer
_LONGEST = 30  # letters of a name beside a confusion matrix
_NAMED, _COUNTED = 50, 15  # classes up to which a confusion matrix has names at its axes, and counts in its cells


class Tile(NamedTuple):
    """One image of a grid.

    Attributes:
        image: (3, H, W) uint8.
        lines: of text below it.
        colour: of the text.
    """

    image: Tensor
    lines: Sequence[str]
    colour: str = BLACK


def plot_grid(tiles: Sequence[Tile], columns: int = 8) -> Image.Image:
    """Images in rows, each over its own text, which is never cut: long lines make wider and fewer columns.

    Small images are enlarged by whole numbers, without blur.

    Args:
        tiles: at least one.
        columns: at most.
    """
    font = ImageFont.load_default(_FONT_SIZE)
    widest = max((font.getlength(line) for tile in tiles for line in tile.lines), default=0)
    width = max(_SIDE, math.ceil(widest)) + 2 * _GAP
    height = _SIDE + max(len(tile.lines) for tile in tiles) * _LINE + 2 * _GAP
    columns = max(1, min(columns, len(tiles), _WIDTH // width))
    grid = Image.new("RGB", (columns * width, math.ceil(len(tiles) / columns) * height), "white")
    draw = ImageDraw.Draw(grid)
    for number, tile in enumerate(tiles):
        left, top = number % columns * width, number // columns * height + _GAP
        picture = _at_legible_size(tile.image)
        grid.paste(picture, (left + (width - picture.width) // 2, top + (_SIDE - picture.height) // 2))
        for row, line in enumerate(tile.lines):
            at = (left + width / 2, top + _SIDE + (row + 0.5) * _LINE)
            draw.text(at, line, tile.colour, font, anchor="mm")
    return grid


def _at_legible_size(image: Tensor) -> Image.Image:
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    if (times := _SIDE // max(picture.size)) > 1:
        return picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    return picture


def plot_confusion(matrix: Tensor, class_names: Sequence[str]) -> "Figure":
    """The confusion matrix, and beside each true class the part of its images that was recognised.

    Args:
        matrix: (classes, classes) int64, true classes in rows, predicted ones in columns.
        class_names: of the rows and columns.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator
    from torchmetrics.utilities.plot import plot_confusion_matrix

    classes = len(class_names)
    side = 3.5 + 0.45 * min(classes, 20)
    figure = Figure(figsize=(side + 3, side), layout="constrained")
    cells, bars = figure.subplots(1, 2, width_ratios=(side, 3))
    shares = matrix / matrix.sum(1, keepdim=True).clamp(min=1)
    plot_confusion_matrix(shares, cells, add_text=False, cmap="Blues")
    names = [name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…" for name in class_names]
    cells.set_xticks(range(classes), names, rotation=45, ha="right", fontsize=10, parse_math=False)
    cells.set_yticks(range(classes), names, rotation=0, fontsize=10, parse_math=False)
    cells.set(aspect="auto")
    cells.set_xlabel("predicted class", fontsize=12)
    cells.set_ylabel("true class", fontsize=12)
    if classes <= _COUNTED:
        for row, column in torch.cartesian_prod(torch.arange(classes), torch.arange(classes)).tolist():
            colour = "white" if shares[row, column] > 0.5 else "black"
            count = f"{matrix[row, column].item():,}"
            cells.text(column, row, count, ha="center", va="center", fontsize=10, color=colour)
    if classes > _NAMED:
        cells.xaxis.set_major_locator(NullLocator())
        cells.yaxis.set_major_locator(NullLocator())
    accuracy = shares.diagonal().tolist()
    drawn = bars.barh(range(classes), accuracy, color="#3b78b5")
    if classes <= _NAMED:
        bars.bar_label(drawn, [f"{value:.3f}" for value in accuracy], padding=3, fontsize=10)
    bars.set(xlim=(0, 1.25), ylim=cells.get_ylim(), xticks=(0, 0.5, 1))
    bars.set_xlabel("accuracy", fontsize=12, x=0.4)  # the middle of 0 to 1
    bars.spines["bottom"].set_bounds(0, 1)
    bars.yaxis.set_major_locator(NullLocator())
    bars.spines[["top", "right"]].set_visible(False)
    return figure


def to_image(figure: "Figure") -> Image.Image:
    """A figure at 100 pixels an inch."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def plot_curves(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw loss and accuracy per epoch, train and validation in one chart each, as a PNG.

    Args:
        rows: one for each epoch, with ``epoch`` and the tags of the curves.
        path: of the file.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, (title, key) in zip(figure.subplots(1, 2), CHARTS.items(), strict=True):
        for stage, label, marker in (("train", "train", "o"), ("val", "validation", "s")):
            points = [(row["epoch"], row[f"{stage}/{key}"]) for row in rows if f"{stage}/{key}" in row]
            if points:
                axes.plot(*zip(*points, strict=True), marker=marker, markersize=4, label=label)
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)
