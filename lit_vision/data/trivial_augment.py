"""TrivialAugment, of torchvision's operations, with a draw for each image."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from lit_vision.data.rng import Draw


def _affine(image: Tensor, **options: list[float]) -> Tensor:
    return TF.affine(image, angle=0.0, scale=1.0, **{"translate": [0, 0], "shear": [0.0, 0.0], **options})


def _shear(image: Tensor, x: float = 0.0, y: float = 0.0) -> Tensor:
    shear = [math.degrees(math.atan(x)), math.degrees(math.atan(y))]
    return _affine(image, shear=shear, center=[0, 0])


_SIGNED: dict[str, tuple[Callable[[Tensor, float], Tensor], float]] = {
    "shear_x": (lambda image, size: _shear(image, x=size), 0.99),
    "shear_y": (lambda image, size: _shear(image, y=size), 0.99),
    "translate_x": (lambda image, size: _affine(image, translate=[int(size), 0]), 32.0),
    "translate_y": (lambda image, size: _affine(image, translate=[0, int(size)]), 32.0),
    "rotate": (lambda image, size: TF.rotate(image, size), 135.0),
    "brightness": (lambda image, size: TF.adjust_brightness(image, 1 + size), 0.99),
    "color": (lambda image, size: TF.adjust_saturation(image, 1 + size), 0.99),
    "contrast": (lambda image, size: TF.adjust_contrast(image, 1 + size), 0.99),
    "sharpness": (lambda image, size: TF.adjust_sharpness(image, 1 + size), 0.99),
}
"""Operations with a strength of either sign, and the greatest strength."""

_UNSIGNED: dict[str, Callable[[Tensor, float], Tensor]] = {
    "identity": lambda image, size: image,
    "posterize": lambda image, size: TF.posterize(image, round(8 - 6 * size)),
    "solarize": lambda image, size: TF.solarize(image, 1 - size),
    "autocontrast": lambda image, size: TF.autocontrast(image),
    "equalize": lambda image, size: TF.equalize(image),
}
"""Operations with a strength from 0 to 1, or with none."""

OPERATIONS = (*_UNSIGNED, *_SIGNED)


def trivial_augment(image: Tensor, draw: Draw, num_magnitude_bins: int) -> Tensor:
    """Change each image by one operation, drawn with its strength; as torchvision's TrivialAugmentWide.

    After Müller and Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", 2021.

    Args:
        image: (N, 3, H, W) in [0, 1].
        draw: random numbers.
        num_magnitude_bins: number of strengths, evenly spaced.
    """
    operation = (draw("trivial_operation") * len(OPERATIONS)).long()
    strength = (draw("trivial_strength") * num_magnitude_bins).long()
    negative = (draw("trivial_sign") < 0.5).long()
    result = image.clone()
    choices = torch.stack([operation, strength, negative], 1)
    kinds, of_image = choices.unique(dim=0, return_inverse=True)
    for number, (which, bin_number, sign) in enumerate(kinds.tolist()):
        chosen = (of_image == number).nonzero().flatten()
        result[chosen] = apply(OPERATIONS[which], image[chosen], bin_number, num_magnitude_bins, bool(sign))
    return result


def apply(operation: str, image: Tensor, number: int, bins: int, negative: bool) -> Tensor:
    """Apply one of ``OPERATIONS`` to images (N, 3, H, W), with strength ``number`` of ``bins``, counted from 0."""
    if operation in _SIGNED:
        function, most = _SIGNED[operation]
        size = float(torch.linspace(0.0, most, bins)[number])  # with torchvision's rounding
        return function(image, -size if negative else size)
    return _UNSIGNED[operation](image, number / (bins - 1))
