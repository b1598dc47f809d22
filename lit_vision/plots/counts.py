from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lit_vision.plots.render import set_fonts
from lit_vision.utils.fonts import shown_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # slow to import, so the functions that need it import it

_MOST_NAMED = 60  # classes


def plot_counts(counts: Mapping[str, Sequence[int]], class_names: Sequence[str]) -> "Figure":
    """Draw how many images each class has in each split, as bars side by side.

    Args:
        counts: For each split, the number of images of each class.
        class_names: A name for each class; more than 60 are not shown.
    """
    from matplotlib.figure import Figure

    classes = len(class_names)
    figure = Figure(figsize=(7, 1.2 + 0.3 * min(classes, _MOST_NAMED)), layout="constrained")
    axes = figure.subplots()
    before = [0] * classes
    for split, values in counts.items():
        axes.barh(range(classes), values, left=before, label=split)
        before = [a + b for a, b in zip(before, values, strict=True)]
    if classes <= _MOST_NAMED:
        axes.set_yticks(range(classes), shown_names(class_names), parse_math=False)
        set_fonts(axes.get_yticklabels())
    else:
        axes.set_ylabel(f"{classes} classes")
    axes.invert_yaxis()
    axes.set_xlabel("images")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure
