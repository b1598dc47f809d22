from collections.abc import Mapping, Sequence
from pathlib import Path

CHARTS = {"loss": "loss", "accuracy": "acc"}
"""Title of a chart, and what the tags of its curves end with."""


def draw_curves(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw loss and accuracy per epoch, train and validation in one chart each, as a PNG.

    Args:
        rows: one for each epoch, with ``epoch`` and the tags of the curves.
        path: of the file.
    """
    from matplotlib.figure import Figure  # takes a while to import, and only runs need it
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
