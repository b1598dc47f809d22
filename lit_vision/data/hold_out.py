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
_STATE = ("val_size", "val_seed", "val_fold", "above", "thresholds")


class HoldOut:
    """The choice of the training images that are held out for validation.

    Each image has a hash of its id (see :class:`LabelledImages`), and each class a threshold: the images at or below it
    are held out. So the side that an image is on depends on nothing else once the thresholds are chosen, and these are
    kept in checkpoints: with a run, no image changes sides, whatever images are added or removed.

    A fold holds out the images between two thresholds of its class. The folds of a set have each image once.

    Args:
        size: number of images to hold out, or their fraction of all if below 1; 0 holds out none.
        seed: seed of the hash.
        fold: which part is held out, such as 2/5 for the second of five; None to go by ``size``.

    Raises:
        UserError: the size is neither a number of images nor a fraction, or the fold is not one.
    """

    def __init__(self, size: float, seed: int, fold: str | None = None) -> None:
        check_at_least(0, "data", val_size=size)
        is_count = float(size).is_integer() and not (isinstance(size, float) and size == 1)  # 1.0 may mean one or all
        if size >= 1 and not is_count:
            raise UserError(
                f"val_size {size} is neither a number of images nor a fraction below 1: change --data.val_size"
            )
        self.fold = None if fold is None else _read_fold(fold)
        self.size = 1 / self.fold[1] if self.fold else int(size) if size >= 1 else size
        self.seed = seed
        self._chosen: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the choice, in plain values; without thresholds if nothing is held out."""
        fold = [*self.fold] if self.fold else []
        return self._chosen or {
            "val_size": self.size,
            "val_seed": self.seed,
            "val_fold": fold,
            "above": {},
            "thresholds": {},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Keep to a choice that was made earlier.

        Raises:
            TypeError: it is none, as in a file that was not written here.
        """
        chosen = {"val_fold": [], "above": {}, **{name: state[name] for name in _STATE if name in state}}
        size, seed, thresholds = (chosen[name] for name in ("val_size", "val_seed", "thresholds"))
        known = isinstance(thresholds, dict) and isinstance(chosen["above"], dict)
        numbers = (
            [size, seed, *chosen["val_fold"], *thresholds.values(), *chosen["above"].values()] if known else [None]
        )
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
        made = self.state_dict()
        meant = {"val_size": self.size, "val_seed": self.seed, "val_fold": [*self.fold] if self.fold else []}
        changed = [name for name, value in meant.items() if value != made[name]]
        if changed and (self.size or (training and made["val_size"])):
            asked, had = (
                ", ".join(f"{name} {_shown(values[name])}" for name in meant if values[name] != [])
                for values in (meant, made)
            )
            raise UserError(
                f"{asked} would move images between training and validation, since the checkpoint has {had}: leave "
                f"{' and '.join(f'--data.{name}' for name in changed)} as they were"
            )

    def divide(self, images: LabelledImages, class_names: Sequence[str]) -> dict[str, LabelledImages]:
        """Divide training images into train and val, of which the latter are held out.

        The first time, unless a choice was loaded, this chooses the thresholds such that val has ``size`` images, in
        proportion to the classes, with at least one image of each class on both sides if that is possible.

        Raises:
            UserError: no images would be left for training or validation.
        """
        if self._chosen is None:
            above, thresholds = self._choose(images, class_names)
            self._chosen = {**self.state_dict(), "above": above, "thresholds": thresholds}
        held_out = self.holds_out(images, class_names)
        parts = {"train": ~held_out, "val": held_out}
        for split, part in parts.items():
            if not part.any():
                raise UserError(f"the checkpoint's choice of held-out images leaves none for {split}: add images")
        return {split: images.subset(part.nonzero().flatten()) for split, part in parts.items()}

    def holds_out(self, images: LabelledImages, class_names: Sequence[str]) -> Tensor:
        """Tell which images are held out by the choice that was made, (N,) bool."""
        hashes, chosen = self._hashes(images), self.state_dict()
        above, thresholds = (
            torch.tensor([chosen[side].get(name, _NONE) for name in class_names])[images.labels]
            for side in ("above", "thresholds")
        )
        return (above < hashes) & (hashes <= thresholds)

    def _hashes(self, images: LabelledImages) -> Tensor:
        return random_bits(images.ids, self.seed, "val") & (2**63 - 1)

    def _choose(self, images: LabelledImages, class_names: Sequence[str]) -> tuple[dict[str, int], dict[str, int]]:
        """The thresholds of each class below and above what is held out."""
        hashes, labels = self._hashes(images), images.labels
        available = torch.bincount(labels, minlength=len(class_names)).tolist()
        total = len(labels)
        ranked = [hashes[labels == label].sort().values.tolist() for label in range(len(class_names))]
        if self.fold:
            ends = _fold_ends(available, class_names, *self.fold)
            low, high = (
                {
                    name: hashes_of[end[side] - 1] if end[side] else _NONE
                    for name, hashes_of, end in zip(class_names, ranked, ends, strict=True)
                }
                for side in (0, 1)
            )
            return low, high
        size = max(1, round(self.size * total)) if self.size < 1 else int(self.size)
        if size >= total:
            raise UserError(f"val_size {self.size} is too large for {total} images: lower --data.val_size")
        counts = proportional(size, available)
        rows = list(zip(class_names, available, counts, strict=True))
        _tell_missing("validation", [name for name, count, held_out in rows if count and not held_out])
        _tell_missing("training", [name for name, count, held_out in rows if count and held_out == count])
        thresholds = {
            name: hashes_of[count - 1] if count else _NONE
            for name, hashes_of, count in zip(class_names, ranked, counts, strict=True)
        }
        return {}, thresholds


def _shown(value: object) -> object:
    return "/".join(map(str, value)) or None if isinstance(value, list) else value


def _read_fold(fold: str) -> tuple[int, int]:
    number, slash, of = fold.partition("/")
    if not (slash and number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of) >= 2):
        raise UserError(f"val_fold {fold} is not a fold: set --data.val_fold to one such as 2/5, the second of five")
    return int(number), int(of)


def _fold_ends(available: Sequence[int], class_names: Sequence[str], fold: int, folds: int) -> list[tuple[int, int]]:
    """The ranks of the images of each class between which a fold is.

    The folds differ by one image of a class at most, and so do all classes together.

    Raises:
        UserError: a class has fewer images than there are folds.
    """
    for name, count in zip(class_names, available, strict=True):
        if 0 < count < folds:
            raise UserError(
                f"{name} has {count} training images, fewer than the {folds} folds: ask for fewer folds, or add images"
            )
    ends, next_fold = [], 0
    for count in available:
        # what is left over goes to one fold after the other, beginning where that of the class before ended
        extra = [(part - next_fold) % folds < count % folds for part in range(folds)]
        next_fold = (next_fold + count) % folds
        low = sum(count // folds + more for more in extra[: fold - 1])
        ends.append((low, low + count // folds + extra[fold - 1]))
    return ends


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
