from typing import Literal

Schedule = Literal["constant", "one_cycle"]


def one_cycle(progress: float, warmup: float = 0.05, start: float = 0.04) -> float:
    """The share of the highest learning rate: straight up from ``start`` to 1, and straight down to 0.

    After Smith and Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates", 2018.

    Args:
        progress: of the run, in [0, 1].
        warmup: part of the run until the highest rate.
        start: share to start from.
    """
    if progress < warmup:
        return start + (1 - start) * progress / warmup
    return max(0.0, (1 - progress) / (1 - warmup))
