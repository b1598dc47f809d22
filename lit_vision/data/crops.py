"""Augmentations that cut a rectangle out of each image: random_resized_crop and random_erasing."""

import math

import torch
from torch import Tensor

from lit_vision.data.rng import Draw

_ATTEMPTS = 10  # as many as torchvision's


def random_resized_crop(
    image: Tensor, draw: Draw, side: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    """Crop a rectangle at random, and resize it to a square (bilinear, antialiased).

    Its draws are distributed as those of torchvision's RandomResizedCrop: of ten attempts, the first that fits in the
    image is taken, otherwise the middle.

    Args:
        image: (N, 3, H, W).
        draw: random numbers.
        side: side of the square in pixels.
        scale: least and greatest area of the rectangle, as fractions of the image's.
        ratio: least and greatest ratio of its width to its height.

    Returns:
        (N, 3, side, side).
    """
    top, left, height, width = _rectangles(image, draw, "resized_crop", scale, ratio, allow_whole=True)
    full_height, full_width = image.shape[2:]
    whole_ratio = full_width / full_height
    middle_width = full_width if whole_ratio < ratio[0] else min(full_width, round(full_height * ratio[1]))
    middle_height = full_height if whole_ratio > ratio[1] else min(full_height, round(full_width / ratio[0]))
    fits = height > 0
    top = torch.where(fits, top, (full_height - middle_height) // 2)
    left = torch.where(fits, left, (full_width - middle_width) // 2)
    height = torch.where(fits, height, middle_height)
    width = torch.where(fits, width, middle_width)
    return resized_crops(image, top, left, height, width, side)


def random_erasing(
    image: Tensor, draw: Draw, p: float, scale: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    """Fill a rectangle with black, at random; after Zhong et al., "Random Erasing Data Augmentation", 2017.

    Its draws are distributed as those of torchvision's RandomErasing.

    Args:
        image: (N, 3, H, W).
        draw: random numbers.
        p: probability that an image is changed.
        scale: least and greatest area of the rectangle, as fractions of the image's.
        ratio: least and greatest ratio of its height to its width.
    """
    inverse = (1 / ratio[1], 1 / ratio[0])
    top, left, height, width = _rectangles(image, draw, "erasing", scale, inverse, allow_whole=False)
    height = torch.where(draw("erasing") < p, height, 0)
    inside = box_mask(image, top, left, height, width)
    return torch.where(inside, 0.0, image)


def box_mask(image: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Tell which pixels are in each image's box, (N, 1, H, W) bool; the box is given by four (N,) in pixels."""
    rows = torch.arange(image.shape[2], device=image.device)
    columns = torch.arange(image.shape[3], device=image.device)
    in_rows = (rows >= top[:, None]) & (rows < (top + height)[:, None])
    in_columns = (columns >= left[:, None]) & (columns < (left + width)[:, None])
    return in_rows[:, None, :, None] & in_columns[:, None, None, :]


def _rectangles(
    image: Tensor, draw: Draw, name: str, scale: tuple[float, float], ratio: tuple[float, float], allow_whole: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw a rectangle in each image: top, left, height and width in pixels, (N,) int64; no attempt fits: height 0."""
    full_height, full_width = image.shape[2:]
    height = width = torch.zeros(len(image), dtype=torch.int64, device=image.device)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for attempt in range(_ATTEMPTS):
        area = full_height * full_width * (scale[0] + (scale[1] - scale[0]) * draw(f"{name}_area_{attempt}"))
        aspect = (low + (high - low) * draw(f"{name}_ratio_{attempt}")).exp()
        w, h = (area * aspect).sqrt().round().long(), (area / aspect).sqrt().round().long()
        fits = (w <= full_width) & (h <= full_height) if allow_whole else (w < full_width) & (h < full_height)
        take = fits & (w > 0) & (h > 0) & (height == 0)
        height, width = torch.where(take, h, height), torch.where(take, w, width)
    top = (draw(f"{name}_top") * (full_height - height + 1)).long()
    left = (draw(f"{name}_left") * (full_width - width + 1)).long()
    return top, left, height, width


def resized_crops(image: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor, side: int) -> Tensor:
    """Cut a box of its own out of each image, and resize it to a square, all at once.

    Bilinear resizing with antialiasing is linear in rows and in columns, so it is two products with matrices.

    Args:
        image: (N, 3, H, W) in [0, 1].
        top: (N,) int64, the first row of the box; left, height and width are given in the same way.
        left: first column.
        height: number of rows.
        width: number of columns.
        side: side of the square in pixels.

    Returns:
        (N, 3, side, side) in [0, 1].
    """
    rows = _weights(top, height, image.shape[2], side).to(image.dtype)[:, None]
    columns = _weights(left, width, image.shape[3], side).to(image.dtype)[:, None]
    return (rows @ image @ columns.transpose(-1, -2)).clamp_(0, 1)


def _weights(start: Tensor, length: Tensor, full: int, side: int) -> Tensor:
    """The weight of each of ``full`` pixels in each of ``side`` pixels made of a part of them: (N, side, full)."""
    scale = length.double()[:, None, None] / side
    support = scale.clamp(min=1)
    centre = (torch.arange(side, device=start.device)[:, None] + 0.5) * scale
    pixel = torch.arange(full, device=start.device) - start[:, None, None]
    weights = (1 - (pixel + 0.5 - centre).abs() / support).clamp(min=0)
    weights = torch.where((pixel >= 0) & (pixel < length[:, None, None]), weights, 0.0)
    return weights / weights.sum(-1, keepdim=True)
