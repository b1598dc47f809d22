"""What happens to a batch on its device: augmentation, drawn per image, and normalisation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_vision.data.rng import random_uniform

Draw = Callable[[str], Tensor]
"""Gives (N,) float32 in [0, 1) for a name: one number for each image of the batch."""

Augmentation = Literal["flip", "alternating_flip", "translate", "jitter", "rotate"]


@dataclass(frozen=True)
class KeyedRandom:
    """The random numbers of a batch's images; one of them is a :data:`Draw`.

    Attributes:
        index: (N,) int64, each image's place in its split.
        seed: of the run.
        epoch: counted from 0.
    """

    index: Tensor
    seed: int
    epoch: int

    def __call__(self, name: str) -> Tensor:
        """(N,) float32 in [0, 1), others in every epoch."""
        return random_uniform(self.index, self.seed, "augment", self.epoch, name)

    def of_all_epochs(self, name: str) -> Tensor:
        """(N,) float32 in [0, 1), the same in every epoch."""
        return random_uniform(self.index, self.seed, "augment", name)


def flip(image: Tensor, draw: Draw) -> Tensor:
    """Mirror left and right with probability 1/2; image (N, 3, H, W)."""
    return torch.where((draw("flip") < 0.5)[:, None, None, None], image.flip(-1), image)


def alternating_flip(image: Tensor, draws: KeyedRandom) -> Tensor:
    """Mirror left and right in every other epoch, each image from the first or from the second on.

    Two epochs in a row show both sides of every image, where :func:`flip` shows half of them the same side twice. From
    Keller Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv 2404.00498, 2024; image (N, 3, H, W).
    """
    mirrored = (draws.of_all_epochs("alternating_flip") < 0.5) != bool(draws.epoch % 2)
    return torch.where(mirrored[:, None, None, None], image.flip(-1), image)


def translate(image: Tensor, draw: Draw, pixels: int = 2) -> Tensor:
    """Move by up to +-pixels along each axis, mirroring what is moved in; image (N, 3, H, W) with H, W > pixels."""
    padded = F.pad(image, (pixels, pixels, pixels, pixels), mode="reflect")
    return _window(padded, draw("down"), draw("right"), *image.shape[2:])


def random_crop(image: Tensor, draw: Draw, side: int) -> Tensor:
    """A square of ``side`` pixels from anywhere in the image; image (N, 3, H, W) with H, W >= side."""
    return _window(image, draw("crop_down"), draw("crop_right"), side, side)


def _window(image: Tensor, down: Tensor, right: Tensor, height: int, width: int) -> Tensor:
    """(N, 3, height, width): each image's window at ``down`` and ``right``, (N,) in [0, 1), of all places."""
    windows = image.unfold(2, height, 1).unfold(3, width, 1)  # (N, 3, places, places, height, width), a view
    rows, columns = (down * windows.shape[2]).long(), (right * windows.shape[3]).long()
    return windows[torch.arange(len(image), device=image.device), :, rows, columns]


def jitter(image: Tensor, draw: Draw, strength: float = 0.2) -> Tensor:
    """Scale brightness, contrast and saturation, each by a factor in [1 - strength, 1 + strength].

    As torchvision's ColorJitter, with its luma weights, but always in this order; image (N, 3, H, W) in [0, 1].
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
    """Turn about the centre by up to +-degrees, bilinear, corners filled with black; image (N, 3, H, W)."""
    angle = (2 * draw("rotate") - 1) * torch.pi * degrees / 180
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    height, width = image.shape[2:]
    # affine_grid counts in half sides, so on an image that is not square a rotation shears unless it is rescaled
    matrix = torch.stack(
        [torch.stack([cos, -sin * height / width, zero], 1), torch.stack([sin * width / height, cos, zero], 1)], 1
    )
    return F.grid_sample(image, F.affine_grid(matrix, list(image.shape), align_corners=False), align_corners=False)


_FUNCTIONS: dict[str, Callable[[Tensor, KeyedRandom], Tensor]] = {
    "flip": flip,
    "alternating_flip": alternating_flip,
    "translate": translate,
    "jitter": jitter,
    "rotate": rotate,
}
assert set(_FUNCTIONS) == set(get_args(Augmentation))


def augment(image: Tensor, names: Sequence[Augmentation], index: Tensor, seed: int, epoch: int) -> Tensor:
    """Apply augmentations in the given order, each image with draws of its own.

    Args:
        image: (N, 3, H, W) float32 in [0, 1].
        names: of the augmentations.
        index: (N,) int64, each image's place in its split; with seed and epoch it decides the draws.
        seed: of the run.
        epoch: counted from 0.
    """
    for name in names if len(index) else ():  # a process may have no image in an epoch's last batch
        image = _FUNCTIONS[name](image, KeyedRandom(index, seed, epoch))
    return image


def to_float(image: Tensor) -> Tensor:
    """(N, 3, H, W) uint8 to float32 in [0, 1]."""
    return image.to(torch.float32).div_(255)


def normalize(image: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(image - mean) / std, in place; image (N, 3, H, W) in [0, 1], mean and std (3, 1, 1)."""
    return image.sub_(mean).div_(std)
