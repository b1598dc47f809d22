"""Plots: learning curves, grids of images with captions, the confusion matrix, the search for a learning rate."""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from lit_vision.utils.files import write_whole
from lit_vision.utils.fonts import find_font, shown_names, shown_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure  # slow to import, so the functions that need it import it
    from matplotlib.text import Text

CHARTS = {"loss": "loss", "accuracy": "acc"}
"""Titles of charts, each with the last part of its curves' tags."""

BLACK, GREEN, RED = "#1f2328", "#1a7f37", "#cf222e"

_GAP, _FONT_SIZE, _LINE = 6, 14, 18  # pixels
_WIDTH = 1200  # pixels, so that a browser shows a grid whole; a longer line of text makes it wider
_LONGEST_NAME = 30  # characters of a class name beside a confusion matrix
_MOST_NAMED = 50  # classes that a confusion matrix names at its axes
_MOST_COUNTED = 15  # classes for which a confusion matrix has counts in its cells
_DARK = 0.6  # share of a row above which a cell is dark enough for white text


class Tile(NamedTuple):
    """One image of a grid.

    Attributes:
        image: (3, H, W) uint8.
        lines: Lines of text below the image.
        colour: Colour of the text.
    """

    image: Tensor
    lines: Sequence[str]
    colour: str = BLACK


def plot_grid(tiles: Sequence[Tile], columns: int = 8, side: int = 128) -> Image.Image:
    """Draw images in rows, each above its own text.

    Text is never cut: long lines make columns wider and fewer. Characters that no font has are escaped. Small images
    are enlarged by whole factors, without blur.

    Args:
        tiles: At least one image with its text.
        columns: Largest number of images in a row.
        side: Largest length of the longer side of an image, in pixels.
    """
    tiles = [tile._replace(lines=[shown_text(line) for line in tile.lines]) for tile in tiles]
    longest = max((_font(line).getlength(line) for tile in tiles for line in tile.lines), default=0)
    width = max(side, math.ceil(longest)) + 2 * _GAP
    height = side + max(len(tile.lines) for tile in tiles) * _LINE + 2 * _GAP
    columns = max(1, min(columns, len(tiles), _WIDTH // width))
    grid = Image.new("RGB", (columns * width, math.ceil(len(tiles) / columns) * height), "white")
    draw = ImageDraw.Draw(grid)
    for number, tile in enumerate(tiles):
        left, top = number % columns * width, number // columns * height + _GAP
        picture = _scaled(tile.image, side)
        grid.paste(picture, (left + (width - picture.width) // 2, top + (side - picture.height) // 2))
        for row, line in enumerate(tile.lines):
            at = (left + width / 2, top + side + (row + 0.5) * _LINE)
            draw.text(at, line, tile.colour, _font(line), anchor="mm")
    return grid


def _font(text: str) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    path = None if text.isascii() else find_font(text)
    return _truetype(path) if path else ImageFont.load_default(_FONT_SIZE)


@cache
def _truetype(path: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, _FONT_SIZE)


def _set_fonts(texts: Iterable["Text"]) -> None:
    """Give each text of a figure a font that has its characters."""
    from matplotlib.font_manager import FontProperties

    for text in texts:
        if not (shown := text.get_text()).isascii() and (path := find_font(shown)):
            text.set_fontproperties(FontProperties(fname=path, size=text.get_fontsize()))


def _scaled(image: Tensor, side: int) -> Image.Image:
    """Fit an image into a square of ``side`` pixels: enlarge it by a whole factor, or shrink it."""
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    if (times := side // max(picture.size)) > 1:
        return picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)
    picture.thumbnail((side, side), Image.Resampling.BILINEAR)
    return picture


def plot_confusion(matrix: Tensor, class_names: Sequence[str]) -> "Figure":
    """Draw a confusion matrix, and beside each true class its recall: the share of its images that were recognised.

    A cell's colour is its share of the row. With up to 15 classes, cells also show counts, and zeros are blank. With
    more than 50, names and the numbers of the recall are left out. The title has the accuracy and the number of images.

    Args:
        matrix: (classes, classes) int64, true classes in rows, predicted ones in columns.
        class_names: Names of the rows and columns.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    classes, images = len(class_names), int(matrix.sum())
    side = 3.5 + 0.45 * min(classes, 20)
    figure = Figure(figsize=(side + 3, side), layout="constrained")
    cells, bars = figure.subplots(1, 2, width_ratios=(side, 3))
    shares = matrix / matrix.sum(1, keepdim=True).clamp(min=1)
    cells.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    names = [name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…" for name in shown_names(class_names)]
    cells.set_xticks(range(classes), names, rotation=45, ha="right", fontsize=10, parse_math=False)
    cells.set_yticks(range(classes), names, fontsize=10, parse_math=False)
    _set_fonts([*cells.get_xticklabels(), *cells.get_yticklabels()])
    cells.set_xlabel("predicted class", fontsize=12)
    cells.set_ylabel("true class", fontsize=12)
    if classes <= _MOST_COUNTED:
        for row, column in matrix.nonzero().tolist():
            colour = "white" if shares[row, column] > _DARK else "black"
            count = f"{matrix[row, column].item():,}"
            cells.text(column, row, count, ha="center", va="center", fontsize=10, color=colour)
    if classes > _MOST_NAMED:
        cells.xaxis.set_major_locator(NullLocator())
        cells.yaxis.set_major_locator(NullLocator())
    recall = shares.diagonal().tolist()
    drawn = bars.barh(range(classes), recall, color="#3b78b5")
    if classes <= _MOST_NAMED:
        texts = [
            f"{value:.3f}" if count else "no images"
            for value, count in zip(recall, matrix.sum(1).tolist(), strict=True)
        ]
        bars.bar_label(drawn, texts, padding=3, fontsize=10)
    bars.set(xlim=(0, 1.25), ylim=cells.get_ylim(), xticks=(0, 0.5, 1))
    bars.set_xlabel("recall", fontsize=12, x=0.4)  # the middle of 0 to 1
    bars.spines["bottom"].set_bounds(0, 1)
    bars.yaxis.set_major_locator(NullLocator())
    bars.spines[["top", "right"]].set_visible(False)
    accuracy = matrix.trace().item() / max(1, images)
    figure.suptitle(f"accuracy {accuracy:.4f} on {images:,} images", fontsize=12)
    return figure


def to_image(figure: "Figure") -> Image.Image:
    """Render a figure at 100 pixels per inch."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def as_png(picture: "Figure | Image.Image") -> bytes:
    """A figure or an image as the content of a PNG file."""
    content = BytesIO()
    if isinstance(picture, Image.Image):
        picture.save(content, "png")
    else:
        picture.savefig(content, format="png", dpi=120)
    return content.getvalue()


def plot_curves(
    rows: Sequence[Mapping[str, float]], path: Path, title: str | None = None, monitor: str = "val/acc"
) -> None:
    """Draw loss and accuracy per epoch as a PNG: a chart for each, with a curve for train and one for validation.

    The epoch that is best by what the run monitors is marked. Accuracy is drawn from 0 to 1 and loss from 0, so that
    charts of different runs can be compared.

    Args:
        rows: One row for each epoch, with ``epoch`` and the tags of the curves.
        path: The file to write.
        title: Text above the charts, such as the name of the run; None for none.
        monitor: The tag by which the best epoch is chosen: the lowest for a loss, otherwise the highest.
    """
    from matplotlib.figure import Figure

    validated = [row for row in rows if monitor in row]
    sign = -1 if monitor.endswith("loss") else 1
    best = max(validated, key=lambda row: sign * row[monitor], default=None)
    figure = Figure(figsize=(5 * len(CHARTS), 4), layout="constrained")
    for axes, (chart, key) in zip(figure.subplots(1, len(CHARTS)), CHARTS.items(), strict=True):
        _plot_chart(axes, rows, key, best)
        axes.set_title(chart)
        if key == "acc":
            axes.set_ylim(0, 1.02)  # a little more than 1, so that no marker is cut
    if title is not None:
        _set_fonts([figure.suptitle(shown_text(title), parse_math=False)])
    write_whole(path, as_png(figure))


def _plot_chart(axes: "Axes", rows: Sequence[Mapping[str, float]], key: str, best: Mapping[str, float] | None) -> None:
    from matplotlib.ticker import MaxNLocator

    values = [0.0]
    for stage, label, marker in (("train", "train", "o"), ("val", "validation", "s")):
        points = [(row["epoch"], row[f"{stage}/{key}"]) for row in rows if f"{stage}/{key}" in row]
        if points:
            axes.plot(*zip(*points, strict=True), marker=marker, markersize=4, label=label)
            values += [value for _, value in points]
    if best is not None:
        text = f"best epoch {best['epoch']}"
        value = best.get(f"val/{key}")
        label = text if value is None else f"{text}: {value:.4f}"
        axes.axvline(best["epoch"], color="#57606a", linestyle="--", linewidth=1, label=label)
    axes.set_xlabel("epoch")
    if min(values) == 0 < max(values):
        axes.set_ylim(0, 1.05 * max(values))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()


def plot_rate_search(rates: Tensor, losses: Tensor, trend: Tensor, suggestion: float | None, path: Path) -> None:
    """Draw the losses of a search over the learning rates as a PNG.

    Args:
        rates: (n,) floating point, the learning rates that were tried.
        losses: (n,) floating point, the loss of one batch at each learning rate.
        trend: (m,) floating point with m <= n, the smoothed losses, without the first and last (n - m) / 2 steps.
        suggestion: The learning rate to mark; None marks none.
        path: The file to write.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    start = (len(losses) - len(trend)) // 2
    axes.plot(rates.tolist(), losses.tolist(), alpha=0.3, label="loss of a batch")
    axes.plot(rates[start : start + len(trend)].tolist(), trend.tolist(), color="#1f77b4", label="mean")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
    axes.grid(alpha=0.3)
    if suggestion is not None:
        axes.axvline(suggestion, color=RED, linestyle="--", label=f"suggestion {suggestion:.2g}")
    axes.legend()
    write_whole(path, as_png(figure))
