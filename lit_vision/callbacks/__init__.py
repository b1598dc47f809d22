"""What a run shows and writes."""

from lit_vision.callbacks.checkpoint import BestAndLast
from lit_vision.callbacks.history import History
from lit_vision.callbacks.progress import EpochBar

__all__ = ["BestAndLast", "EpochBar", "History"]
