"""Splits of a source for training: images held out for validation, and images kept in memory."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from pathlib import Path

from torch import Tensor

from lit_vision.data.batch import LabelledImages
from lit_vision.data.decoding import Resize
from lit_vision.data.images import ResizedImages, decode_all
from lit_vision.data.rng import random_permutation
from lit_vision.errors import UserError
from lit_vision.utils.log import log_info


class ImageSource(ABC):
    """Labelled images in one or more splits.

    Attributes:
        root: folder of the data.
    """

    root: Path

    @property
    @abstractmethod
    def class_names(self) -> list[str]:
        """One name for each label, known without a download."""

    @property
    @abstractmethod
    def split_names(self) -> list[str]:
        """The data set's own splits, train first."""

    @property
    @abstractmethod
    def native_size(self) -> int:
        """Side in pixels of the images before resizing; they must be square."""

    @abstractmethod
    def load(self, split: str) -> LabelledImages:
        """Load one of ``split_names``."""


def load_train_and_val(
    source: ImageSource, wanted: Collection[str], val_size: int, seed: int, validates: bool
) -> dict[str, LabelledImages]:
    """Load the splits for training and validation.

    Args:
        source: the images.
        wanted: the splits to load, "train", "val" or both.
        val_size: number of training images held out for validation; 0 validates on the source's second split.
        seed: seed of the choice of held-out images.
        validates: True if the run validates; the user is told if it does so on the test images.

    Raises:
        UserError: no images would be left for training or validation.
    """
    if val_size:
        return _hold_out(source.load("train"), wanted, val_size, seed)
    if len(source.split_names) == 1:
        raise UserError(f"{source.root} has no images for validation: hold some out with --data.val_size")
    second = source.split_names[1]
    if "train" in wanted and second == source.split_names[-1] and validates:
        log_info(
            f"val_size is 0: validation uses the split {second!r}, and so does test. The best checkpoint is chosen on "
            "it, so its test is not independent: hold out training images with --data.val_size"
        )
    return {split: source.load(second if split == "val" else "train") for split in wanted}


def _hold_out(images: LabelledImages, wanted: Collection[str], val_size: int, seed: int) -> dict[str, LabelledImages]:
    size = len(images.labels)
    if val_size >= size:
        raise UserError(f"val_size {val_size} is too large for {size} images: lower --data.val_size")
    order = random_permutation(size, seed, "val")
    parts = {"val": order[:val_size], "train": order[val_size:]}
    return {split: images.subset(parts[split].sort().values) for split in wanted}


def keep_in_memory(
    source: LabelledImages, split: str, image_size: int, resize: Resize, budget: float, num_workers: int
) -> LabelledImages:
    """Decode and resize a split into one tensor, if it fits into the budget.

    Args:
        source: the images of the split.
        split: name of the split, for messages.
        image_size: side in pixels of the images in the result.
        resize: how to resize images that are already in memory.
        budget: memory for the images, in bytes.
        num_workers: number of threads that decode.

    Returns:
        (N, 3, image_size, image_size) uint8, or images that are decoded at each use, with their labels.
    """
    images, labels = source
    if isinstance(images, Tensor):
        if images.shape[-1] == image_size and resize == "stretch":
            return source
        images = ResizedImages(images, image_size, resize)
    if len(images) * 3 * image_size**2 > budget:
        amount = f"{len(images)} images exceed the memory budget of {budget / 2**30:.3g} GiB"
        log_info(f"{split}: {amount} (--data.memory_budget), so they are decoded batch by batch")
        return LabelledImages(images, labels)
    return LabelledImages(decode_all(images, num_workers, progress=f"decoding {split}"), labels)
