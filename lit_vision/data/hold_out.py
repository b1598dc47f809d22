"""The choice of the training images that are held out for validation, which holds for as long as a run is used."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lit_vision.data.batch import LabelledImages
from lit_vision.data.rng import random_bits
from lit_vision.errors import UserError, check_at_least
from lit_vision.utils.log import log_info

_NONE = -1  # below every hash


class HoldOut:
    """The choice of the training images that are held out for validation.

    Each image has a hash of its id (see :class:`LabelledImages`), and each class a threshold: the images at or below it
    are held out. So the side that an image is on depends on nothing else once the thresholds are chosen, and these are
    kept in checkpoints: with a run, no image changes sides, whatever images are added or removed.

    Args:
        size: number of images to hold out, or their fraction of all if below 1; 0 holds out none.
        seed: seed of the hash.

    Raises:
        UserError: the size is neither a number of images nor a fraction.
    """

    def __init__(self, size: float, seed: int) -> None:
        check_at_least(0, "data", val_size=size)
        is_count = float(size).is_integer() and not (isinstance(size, float) and size == 1)  # 1.0 may mean one or all
        if size >= 1 and not is_count:
            raise UserError(
                f"val_size {size} is neither a number of images nor a fraction below 1: change --data.val_size"
            )
        self.size = int(size) if size >= 1 else size
        self.seed = seed
        self._chosen: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the choice, in plain values; without thresholds if nothing is held out."""
        return self._chosen or {"val_size": self.size, "val_seed": self.seed, "thresholds": {}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Keep to a choice that was made earlier.

        Raises:
            TypeError: it is none, as in a file that was not written here.
        """
        chosen = {name: state[name] for name in ("val_size", "val_seed", "thresholds")}
        size, seed, thresholds = chosen.values()
        numbers = [size, seed, *thresholds.values()] if isinstance(thresholds, dict) else [None]
        if not all(isinstance(number, int | float) for number in numbers):
            raise TypeError("not a choice of held-out images")
        self._chosen = chosen

    def check(self, training: bool) -> None:
        """Check that the options are those of the choice that was loaded.

        Args:
            training: whether the network will be trained; if not, validating on a split of its own is fine.

        Raises:
            UserError: the options ask for another choice, so that images would change sides.
        """
        meant = (self.size, self.seed)
        made = (self.state_dict()["val_size"], self.state_dict()["val_seed"])
        if meant != made and (self.size or (training and made[0])):
            raise UserError(
                f"val_size {self.size} with val_seed {self.seed} would move images between training and validation, "
                f"since the checkpoint has {made[0]} with {made[1]}: leave --data.val_size and --data.val_seed as they "
                "were"
            )

    def divide(self, images: LabelledImages, class_names: Sequence[str]) -> dict[str, LabelledImages]:
        """Divide training images into train and val, of which the latter are held out.

        The first time, unless a choice was loaded, this chooses the thresholds such that val has ``size`` images, in
        proportion to the classes, with at least one image of each class on both sides if that is possible.

        Raises:
            UserError: no images would be left for training or validation.
        """
        if self._chosen is None:
            self._chosen = {**self.state_dict(), "thresholds": self._choose(images, class_names)}
        held_out = self.holds_out(images, class_names)
        parts = {"train": ~held_out, "val": held_out}
        for split, part in parts.items():
            if not part.any():
                raise UserError(f"the checkpoint's choice of held-out images leaves none for {split}: add images")
        return {split: images.subset(part.nonzero().flatten()) for split, part in parts.items()}

    def holds_out(self, images: LabelledImages, class_names: Sequence[str]) -> Tensor:
        """Tell which images are held out by the choice that was made, (N,) bool."""
        chosen = self.state_dict()["thresholds"]
        thresholds = torch.tensor([chosen.get(name, _NONE) for name in class_names])
        return self._hashes(images) <= thresholds[images.labels]

    def _hashes(self, images: LabelledImages) -> Tensor:
        return random_bits(images.ids, self.seed, "val") & (2**63 - 1)

    def _choose(self, images: LabelledImages, class_names: Sequence[str]) -> dict[str, int]:
        hashes, labels = self._hashes(images), images.labels
        available = torch.bincount(labels, minlength=len(class_names)).tolist()
        total = len(labels)
        size = max(1, round(self.size * total)) if self.size < 1 else int(self.size)
        if size >= total:
            raise UserError(f"val_size {self.size} is too large for {total} images: lower --data.val_size")
        counts = proportional(size, available)
        rows = list(zip(class_names, available, counts, strict=True))
        _tell_missing("validation", [name for name, count, held_out in rows if count and not held_out])
        _tell_missing("training", [name for name, count, held_out in rows if count and held_out == count])
        thresholds = {}
        for label, (name, count) in enumerate(zip(class_names, counts, strict=True)):
            ranked = hashes[labels == label].sort().values
            thresholds[name] = int(ranked[count - 1]) if count else _NONE
        return thresholds


def proportional(size: int, available: Sequence[int]) -> list[int]:
    """Divide a number of images over classes in proportion, by largest remainders.

    Args:
        size: number of images to choose, less than there are.
        available: number of images of each class.

    Returns:
        The number to choose of each class. Where the size allows, each class of two or more images has at least one
        chosen and one not chosen; a class of one image has none chosen.
    """
    least = [min(1, count - 1) if count else 0 for count in available]
    most = [max(0, count - 1) for count in available]
    if sum(least) > size:
        least = [0] * len(available)
    if sum(most) < size:
        most = list(available)
    share = [size * count / sum(available) for count in available]
    chosen = [min(max(int(part), low), high) for part, low, high in zip(share, least, most, strict=True)]
    while (missing := size - sum(chosen)) != 0:
        step = 1 if missing > 0 else -1
        room = [k for k, count in enumerate(chosen) if (count < most[k] if step > 0 else count > least[k])]
        chosen[max(room, key=lambda k: (step * (share[k] - chosen[k]), -k))] += step
    return chosen


def _tell_missing(side: str, names: Sequence[str]) -> None:
    if names:
        more = f" and {len(names) - 5} more classes" if len(names) > 5 else ""
        log_info(f"{side} has no image of {', '.join(names[:5])}{more}: change --data.val_size, or add images")
