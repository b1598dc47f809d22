"""Augmentations that mix each image, and its label, with another: mixup and cutmix."""

from collections.abc import Mapping

import torch
from torch import Tensor

from lit_vision.data.batch import Batch, DrawnBatch, MixedBatch
from lit_vision.data.crops import box_mask
from lit_vision.data.rng import Draw
from lit_vision.data.transforms import KeyedRandom

MIXING = ("mixup", "cutmix")

_ATTEMPTS = 40  # at the chance of a half or more each, one of them succeeds


def mix(batch: DrawnBatch, alphas: Mapping[str, float], key: tuple[int, int] | None) -> Batch | MixedBatch:
    """Mix each image with its partner; if several ways are given, each image draws one of them.

    After Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018, and Yun et al., "CutMix: Regularization
    Strategy to Train Strong Classifiers with Localizable Features", 2019.

    Args:
        batch: a batch whose images are floating point.
        alphas: the parameter of the Beta distribution of the shares, for each way of mixing.
        key: seed and epoch; None to leave the images as they are.

    Returns:
        The images of the batch, without those that were there only to be mixed into others.
    """
    partner, count = batch.partner, len(batch.label) if batch.partner is None else len(batch.partner)
    image, label, index = batch.image[:count], batch.label[:count], batch.index[:count]
    if partner is None or key is None or not count:
        return Batch(image, label, index)
    random = KeyedRandom(batch.draws[:count], *key)
    other, mixed, share = batch.image[partner], image, torch.ones(count, device=image.device)
    chosen = (random("mixing") * len(alphas)).long()
    for number, (name, alpha) in enumerate(alphas.items()):
        shares = beta(random, alpha)
        if name == "mixup":
            result = mixup(image, other, shares)
        else:
            result, shares = cutmix(image, other, shares, random("cutmix_x"), random("cutmix_y"))
        mixed = torch.where((chosen == number)[:, None, None, None], result, mixed)
        share = torch.where(chosen == number, shares, share)
    second, swap = batch.label[partner], share < 0.5
    larger, smaller = torch.where(swap, second, label), torch.where(swap, label, second)
    return MixedBatch(mixed, larger, index, smaller, torch.where(swap, 1 - share, share))


def mixup(image: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """Add images (N, C, H, W) up, the first with these shares (N,)."""
    return torch.lerp(other, image, share[:, None, None, None])


def cutmix(image: Tensor, other: Tensor, share: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Replace a box of each image by the same box of another one.

    Args:
        image: (N, C, H, W).
        other: (N, C, H, W), the images that the boxes come from.
        share: (N,) in [0, 1], the part of an image that is not replaced, unless the box reaches over the border.
        x: (N,) in [0, 1), where the centre of the box is.
        y: (N,) in [0, 1).

    Returns:
        The images, and their shares as they came out, (N,).
    """
    height, width = image.shape[2:]
    centre_x, centre_y = (x * width).long(), (y * height).long()
    half = 0.5 * (1 - share).sqrt()
    half_width, half_height = (half * width).long(), (half * height).long()
    left, right = (centre_x - half_width).clamp(min=0), (centre_x + half_width).clamp(max=width)
    top, bottom = (centre_y - half_height).clamp(min=0), (centre_y + half_height).clamp(max=height)
    inside = box_mask(image, top, left, bottom - top, right - left)
    return torch.where(inside, other, image), 1 - (right - left) * (bottom - top) / (width * height)


def beta(draw: Draw, alpha: float) -> Tensor:
    """Draw (N,) float32 in [0, 1] from Beta(alpha, alpha), for alpha of at most 1, by Jöhnk's algorithm."""
    share = torch.full_like(draw("beta"), 0.5, dtype=torch.float64)
    found = torch.zeros_like(share, dtype=torch.bool)
    for attempt in range(_ATTEMPTS):
        x, y = ((draw(f"beta_{end}_{attempt}").double() + 2.0**-25).log() / alpha for end in ("x", "y"))
        take = ~found & (torch.logaddexp(x, y) <= 0)
        share, found = torch.where(take, torch.sigmoid(x - y), share), found | take
    return share.float()
