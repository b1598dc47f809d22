from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from lit_vision.plots.render import RED, as_png, set_fonts
from lit_vision.runs import best_row
from lit_vision.utils.files import write_whole
from lit_vision.utils.fonts import shown_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes  # slow to import, so the functions that need it import it

CHARTS = {"loss": "loss", "accuracy": "acc"}
"""Titles of charts, each with the last part of its curves' tags."""


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

    best = best_row(rows, monitor)
    figure = Figure(figsize=(5 * len(CHARTS), 4), layout="constrained")
    for axes, (chart, key) in zip(figure.subplots(1, len(CHARTS)), CHARTS.items(), strict=True):
        _plot_chart(axes, rows, key, best)
        axes.set_title(chart)
        if key == "acc":
            axes.set_ylim(0, 1.02)  # a little more than 1, so that no marker is cut
    if title is not None:
        set_fonts([figure.suptitle(shown_text(title), parse_math=False)])
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
