from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from lit_vision.plots.render import set_fonts
from lit_vision.utils.fonts import shown_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # slow to import, so the functions that need it import it

_LONGEST_NAME = 30  # characters of a class name beside a confusion matrix
_MOST_NAMED = 50  # classes that a confusion matrix names at its axes
_MOST_COUNTED = 15  # classes for which a confusion matrix has counts in its cells
_DARK = 0.6  # share of a row above which a cell is dark enough for white text


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
    set_fonts([*cells.get_xticklabels(), *cells.get_yticklabels()])
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
