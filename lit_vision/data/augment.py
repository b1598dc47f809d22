"""The augmentations of ``--data.augment``: their names, their options, and their application to a batch."""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from lit_vision.data.crops import random_erasing, random_resized_crop
from lit_vision.data.transforms import KeyedRandom, alternating_flip, flip, jitter, rotate, translate
from lit_vision.data.trivial_augment import trivial_augment
from lit_vision.errors import UserError

Augmentation = str | dict[str, Any]
"""A name, or a name with options, such as ``{"rotate": {"degrees": 20}}``."""

Range = tuple[float, float]


class Kind(NamedTuple):
    """A kind of augmentation.

    Attributes:
        function: (image (N, 3, H, W) in [0, 1], random, **options) -> image; None if it mixes images.
        defaults: the default of each option: a number, or the two ends of a range of numbers.
        limits: the least and the greatest value of each option.
    """

    function: Callable[..., Tensor] | None
    defaults: dict[str, float | Range]
    limits: dict[str, Range]


_AREA, _RATIO, _ALPHA, _P = (1e-3, 1.0), (0.05, 20.0), (0.01, 1.0), (0.0, 1.0)

KINDS: dict[str, Kind] = {
    "flip": Kind(flip, {"p": 0.5}, {"p": _P}),
    "alternating_flip": Kind(alternating_flip, {}, {}),
    "translate": Kind(translate, {"pixels": 2}, {"pixels": (1, 1000)}),
    "jitter": Kind(jitter, {"strength": 0.2}, {"strength": (0.0, 1.0)}),
    "rotate": Kind(rotate, {"degrees": 10.0}, {"degrees": (0.0, 180.0)}),
    "random_resized_crop": Kind(
        random_resized_crop, {"scale": (0.08, 1.0), "ratio": (3 / 4, 4 / 3)}, {"scale": _AREA, "ratio": _RATIO}
    ),
    "trivial_augment": Kind(trivial_augment, {"num_magnitude_bins": 31}, {"num_magnitude_bins": (2, 1000)}),
    "random_erasing": Kind(
        random_erasing,
        {"p": 0.5, "scale": (0.02, 0.33), "ratio": (0.3, 3.3)},
        {"p": _P, "scale": _AREA, "ratio": _RATIO},
    ),
    "mixup": Kind(None, {"alpha": 0.2}, {"alpha": _ALPHA}),
    "cutmix": Kind(None, {"alpha": 1.0}, {"alpha": _ALPHA}),
}


def read_augment(given: Augmentation | Sequence[Augmentation]) -> dict[str, dict[str, Any]]:
    """Read augmentations, each of which may come once, with all their options.

    Raises:
        UserError: a name or an option is unknown, or a value is out of its range.
    """
    read: dict[str, dict[str, Any]] = {}
    for entry in [given] if isinstance(given, str | dict) else given:
        for name, options in ({entry: None} if isinstance(entry, str) else entry).items():
            if name in read:
                raise UserError(f"{name} comes twice: leave one out of --data.augment")
            read[name] = _read_options(name, options)
    return read


def _read_options(name: str, given: Any) -> dict[str, Any]:
    if "," in name:
        words = ", ".join(word.strip() for word in name.split(","))
        raise UserError(f"{name} is not a list: use --data.augment '[{words}]'")
    if name not in KINDS:
        raise UserError(f"there is no augmentation {name}{_meant(name, KINDS)}: set --data.augment to {_listed(KINDS)}")
    kind = KINDS[name]
    if given is not None and not isinstance(given, dict):
        example = ", ".join(f"{option}: {_shown(value)}" for option, value in kind.defaults.items())
        raise UserError(f"{name} takes its options by name: use --data.augment '[{{{name}: {{{example}}}}}]'")
    options: dict[str, Any] = dict(kind.defaults)
    for option, value in (given or {}).items():
        if option not in options:
            known = f"use {_listed(options)}" if options else "leave it out"
            raise UserError(f"{name} has no option {option}{_meant(option, options)}: {known} (--data.augment)")
        options[option] = _read_value(name, option, value, kind)
    return options


def _read_value(name: str, option: str, value: Any, kind: Kind) -> float | Range:
    default, (least, most) = kind.defaults[option], kind.limits[option]
    is_range = isinstance(default, tuple)
    values = list(value) if is_range and isinstance(value, list | tuple) else [value]
    numbers = all(isinstance(number, int | float) and not isinstance(number, bool) for number in values)
    whole = not isinstance(default, int) or all(isinstance(number, int) for number in values)
    fits = numbers and whole and len(values) == (2 if is_range else 1) and all(least <= n <= most for n in values)
    if not fits or values != sorted(values):
        what = "two rising numbers" if is_range else "a whole number" if isinstance(default, int) else "a number"
        culprit = f"{option} {_shown(value)} of {name} is out of range"
        raise UserError(f"{culprit}: use {what} from {least:g} to {most:g} (--data.augment)")
    return (values[0], values[1]) if is_range else values[0]


def augment(image: Tensor, steps: Mapping[str, Mapping[str, Any]], random: KeyedRandom, side: int) -> Tensor:
    """Apply augmentations in the given order, each image with its own random numbers.

    Args:
        image: (N, 3, H, W) float32 in [0, 1].
        steps: names of augmentations, with all their options.
        random: the random numbers of these images.
        side: side in pixels of what random_resized_crop makes.
    """
    for name, options in steps.items() if len(image) else ():  # a process may have no image in an epoch's last batch
        function = KINDS[name].function
        assert function is not None
        more = {"side": side} if name == "random_resized_crop" else {}
        image = function(image, random, **options, **more)
    return image


def kept_scale(steps: Mapping[str, Mapping[str, Any]]) -> float:
    """Factor of the size in which training images are kept: a crop of the mean area is then not enlarged."""
    if "random_resized_crop" not in steps:
        return 1.0
    least, most = steps["random_resized_crop"]["scale"]
    return 1 / math.sqrt((least + most) / 2)


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(names)


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_shown(part) for part in value)}]"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _meant(word: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(word, known, n=2, cutoff=0.5)
    return f" (did you mean {' or '.join(close)}?)" if close else ""
