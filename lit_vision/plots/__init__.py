"""Plots: grids of images, the confusion matrix, counts, learning curves, the rate search, the reliability diagram."""

from lit_vision.plots.confusion import plot_confusion
from lit_vision.plots.counts import plot_counts
from lit_vision.plots.curves import CHARTS, plot_curves, plot_rate_search
from lit_vision.plots.grid import Tile, plot_grid
from lit_vision.plots.reliability import plot_reliability
from lit_vision.plots.render import BLACK, GREEN, RED, as_png, to_image

__all__ = [
    "BLACK",
    "CHARTS",
    "GREEN",
    "RED",
    "Tile",
    "as_png",
    "plot_confusion",
    "plot_counts",
    "plot_curves",
    "plot_grid",
    "plot_rate_search",
    "plot_reliability",
    "to_image",
]
