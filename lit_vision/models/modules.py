"""Code that all networks share: a description of the images that a network takes, and helpers for modules."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lit_vision.data.decoding import Decoding, Resize
from lit_vision.errors import UserError


class InputSpec(NamedTuple):
    """The images that a network takes.

    Attributes:
        image_size: side of the images in pixels.
        mean: mean of each channel, subtracted from values in [0, 1].
        std: standard deviation of each channel, by which the centred values are divided.
        resize: how images of other sizes are resized: stretch, center_crop or a number of pixels.
        decoding: how large JPEG files are decoded, see :func:`lit_vision.data.decoding.read_image`.
    """

    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: Resize
    decoding: Decoding = "reduced"


BEFORE_DECODING: Decoding = "full"
"""How images were decoded for checkpoints that do not say so."""


@contextmanager
def in_eval_mode(network: nn.Module) -> Iterator[None]:
    """Run a block in eval mode, then restore each module's mode.

    A pass in train mode would change the statistics of BatchNorms, and draw random numbers.
    """
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def init_linear(module: nn.Module) -> None:
    """Initialise a Linear as the notebooks do: Xavier uniform weights and zero biases; for ``Module.apply``."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


@torch.no_grad()
def check_crop_size(network: nn.Module, image: Tensor) -> None:
    """Try the network in eval mode on an image (1, 3, H, W) of the size of the data's crops.

    Raises:
        UserError: the network cannot take such an image.
    """
    try:
        with in_eval_mode(network):
            network(image)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UserError(
            f"{type(network).__name__} cannot take images of {image.shape[-1]} pixels ({first_line(error)}): change "
            "--data.crop_size, or set --data.crop_epochs to 0"
        ) from error


def first_line(error: Exception) -> str:
    """The first line of an error's message, for use in a message of one line; PyTorch's messages may have several."""
    return next(iter(str(error).splitlines()), "")
