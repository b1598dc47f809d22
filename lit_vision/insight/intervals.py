"""How exact accuracies are, and whether two networks differ."""

import math
from collections.abc import Sequence

_Z = 1.959964  # quantile of the normal distribution for 95 %


def accuracy_interval(correct: int, total: int) -> tuple[float, float]:
    """The 95% interval of an accuracy, in [0, 1] (Wilson, "Probable Inference", 1927).

    Args:
        correct: number of images that were predicted right.
        total: number of images, at least 1.
    """
    share, z2 = correct / total, _Z**2 / total
    centre = (share + z2 / 2) / (1 + z2)
    half = _Z * math.sqrt(share * (1 - share) / total + z2 / (4 * total)) / (1 + z2)
    return max(0.0, centre - half), min(1.0, centre + half)


def with_interval(accuracy: float, total: int) -> str:
    """An accuracy with its 95% interval and the number of images that it was measured on, in words."""
    low, high = accuracy_interval(round(accuracy * total), total)
    digits = 2 if total < 1000 else 3
    images = f"{total:,} {'image' if total == 1 else 'images'}"
    return f"{accuracy:.4f} ({low:.{digits}f} to {high:.{digits}f}, 95% interval of {images})"


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (n - 1) of figures; the deviation of one figure is 0."""
    mean = math.fsum(values) / len(values)
    squares = math.fsum((value - mean) ** 2 for value in values)
    return mean, math.sqrt(squares / max(1, len(values) - 1))


def mcnemar(first_only: int, second_only: int) -> float:
    """The exact two-sided p-value of McNemar's test, in [0, 1].

    That is the probability of a difference of this size or more between two networks that are equally good.

    Args:
        first_only: number of images that only the first network predicts right.
        second_only: number of images that only the second network predicts right.
    """
    from scipy.stats import binomtest  # takes a second to import

    different = first_only + second_only
    return float(binomtest(first_only, different).pvalue) if different else 1.0
