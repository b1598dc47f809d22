from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lit_vision.plots.render import RED

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # slow to import, so the functions that need it import it

_BINS = 10


def plot_reliability(confidence: Mapping[str, Tensor], correct: Tensor) -> "Figure":
    """Draw how often a network is right, by how certain it is, in a chart for each kind of probability.

    The bars of a network that can be trusted end at the diagonal. Those below it show that it is too certain. The
    share of the images in each bin is drawn below each chart.

    Args:
        confidence: For the title of each chart, the probability of the predicted class of each image, (n,) in [0, 1].
        correct: (n,) bool, whether that class is the true one.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * len(confidence), 5.5), layout="constrained")
    charts = figure.subplots(2, len(confidence), squeeze=False, sharex=True, height_ratios=(4, 1))
    edges = torch.linspace(0, 1, _BINS + 1)
    middles = ((edges[1:] + edges[:-1]) / 2).tolist()
    for (title, probability), above, below in zip(confidence.items(), *charts, strict=True):
        bins = (probability * _BINS).long().clamp(0, _BINS - 1)
        counts = torch.bincount(bins, minlength=_BINS)
        right = torch.bincount(bins, correct.double(), minlength=_BINS) / counts.clamp(min=1)
        above.bar(middles, right.tolist(), width=1 / _BINS, color="#3b78b5", edgecolor="white")
        above.plot([0, 1], [0, 1], color=RED, linestyle="--", linewidth=1)
        above.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
        above.set_title(title, fontsize=11)
        below.bar(
            middles, (counts / max(1, len(correct))).tolist(), width=1 / _BINS, color="#8c959f", edgecolor="white"
        )
        below.set(ylim=(0, 1), ylabel="images", xlabel="probability of the predicted class")
    return figure
