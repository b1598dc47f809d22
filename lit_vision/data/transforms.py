"""Transforms of a batch on its device: augmentation, drawn for each image, and normalisation.

The augmentations are written here because those of torchvision's transforms v2 draw from a global generator, once for a
whole batch. Here each image has its own random numbers, keyed by (seed, epoch, image). They do not depend on the batch
size, the number of processes or the device, and a resumed run draws them again exactly. The tests compare the results
with torchvision's functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_vision.data.rng import Draw, random_uniform


@dataclass(frozen=True)
class KeyedRandom:
    """The random numbers of the images of a batch; a :data:`Draw`.

    Attributes:
        index: (N,) int64, the position of each image in its split.
        seed: seed of the run.
        epoch: training epoch, counted from 0.
    """

    index: Tensor
    seed: int
    epoch: int

    def __call__(self, name: str) -> Tensor:
        """Draw (N,) float32 in [0, 1), different in every epoch."""
        return random_uniform(self.index, self.seed, "augment", self.epoch, name)

    def of_all_epochs(self, name: str) -> Tensor:
        """Draw (N,) float32 in [0, 1), the same in every epoch."""
        return random_uniform(self.index, self.seed, "augment", name)


def flip(image: Tensor, draw: Draw, p: float = 0.5) -> Tensor:
    """Mirror images left-right with probability ``p``; image (N, 3, H, W)."""
    return torch.where((draw("flip") < p)[:, None, None, None], image.flip(-1), image)


def alternating_flip(image: Tensor, random: KeyedRandom) -> Tensor:
    """Mirror images left-right in every other epoch: half of them in even epochs, the others in odd ones.

    Two consecutive epochs show both sides of every image, whereas :func:`flip` shows the same side of half of them
    twice. The image is (N, 3, H, W). Source: Keller Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv
    2404.00498.
    """
    mirrored = (random.of_all_epochs("alternating_flip") < 0.5) != bool(random.epoch % 2)
    return torch.where(mirrored[:, None, None, None], image.flip(-1), image)


def translate(image: Tensor, draw: Draw, pixels: int = 2) -> Tensor:
    """Move images by up to +-pixels along each axis, and fill by reflection; image (N, 3, H, W) with H, W > pixels."""
    padded = F.pad(image, (pixels, pixels, pixels, pixels), mode="reflect")
    return _window(padded, draw("down"), draw("right"), *image.shape[2:])


def random_crop(image: Tensor, draw: Draw, side: int) -> Tensor:
    """Crop a square of ``side`` pixels at a random position; image (N, 3, H, W) with H, W >= side."""
    return _window(image, draw("crop_down"), draw("crop_right"), side, side)


def _window(image: Tensor, down: Tensor, right: Tensor, height: int, width: int) -> Tensor:
    """Cut one window, (N, 3, height, width), from each image, at a position that ``down`` and ``right`` choose."""
    windows = image.unfold(2, height, 1).unfold(3, width, 1)  # (N, 3, rows, columns, height, width), a view
    rows, columns = (down * windows.shape[2]).long(), (right * windows.shape[3]).long()
    return windows[torch.arange(len(image), device=image.device), :, rows, columns]


def jitter(image: Tensor, draw: Draw, strength: float = 0.2) -> Tensor:
    """Scale brightness, contrast and saturation, each by a factor in [1 - strength, 1 + strength].

    It is like torchvision's ColorJitter, with its luma weights, but always in this order; image (N, 3, H, W) in [0, 1].
    """

    def factor(name: str) -> Tensor:
        return (1 + strength * (2 * draw(name) - 1))[:, None, None, None]

    weight = image.new_tensor([0.2989, 0.587, 0.114])[:, None, None]
    image = (image * factor("brightness")).clamp(0, 1)
    mean = (image * weight).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    image = torch.lerp(mean, image, factor("contrast")).clamp(0, 1)
    grey = (image * weight).sum(1, keepdim=True)
    return torch.lerp(grey, image, factor("saturation")).clamp(0, 1)


def rotate(image: Tensor, draw: Draw, degrees: float = 10.0) -> Tensor:
    """Rotate about the centre by up to +-degrees (bilinear, with black corners); image (N, 3, H, W)."""
    angle = (2 * draw("rotate") - 1) * torch.pi * degrees / 180
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    height, width = image.shape[2:]
    # affine_grid measures in half sides, so the rotation of an image that is not square must be rescaled
    matrix = torch.stack(
        [torch.stack([cos, -sin * height / width, zero], 1), torch.stack([sin * width / height, cos, zero], 1)], 1
    )
    return F.grid_sample(image, F.affine_grid(matrix, list(image.shape), align_corners=False), align_corners=False)


def to_float(image: Tensor) -> Tensor:
    """Convert images, (N, 3, H, W) uint8, to float32 in [0, 1]."""
    return image.to(torch.float32).div_(255)


def normalize(image: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Compute (image - mean) / std in place; image (N, 3, H, W) in [0, 1], mean and std (3, 1, 1)."""
    return image.sub_(mean).div_(std)


class Normalization:
    """Normalises images by the mean and standard deviation of each channel, on the device of the images.

    Args:
        mean: mean of each channel, subtracted from values in [0, 1].
        std: standard deviation of each channel, by which values are divided once the mean is subtracted.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self._mean, self._std = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]

    def __call__(self, image: Tensor) -> Tensor:
        """Normalise (N, 3, H, W) float32 in [0, 1], in place; the result has channels last in memory."""
        if self._mean.device != image.device:
            self._mean, self._std = self._mean.to(image.device), self._std.to(image.device)
        # convolutions are faster with channels last; the steps before them are not
        return normalize(image, self._mean, self._std).contiguous(memory_format=torch.channels_last)


def per_channel(value: float | tuple[float, float, float] | None) -> tuple[float, float, float]:
    """Repeat one value for all three channels, 0.5 for None; three values stay as they are."""
    if value is None:
        value = 0.5
    return value if isinstance(value, tuple) else (value, value, value)
