"""The Trainer of this project, for the command line and, through :func:`make_trainer`, for Python."""

from lit_vision.trainer.factory import make_trainer

__all__ = ["make_trainer"]
