"""Splits of a source for training: images held out for validation, and images kept in memory."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from lit_vision.data.batch import LabelledImages
from lit_vision.data.decoding import Resize
from lit_vision.data.exclude import Exclude
from lit_vision.data.hold_out import HoldOut
from lit_vision.data.image_names import image_names
from lit_vision.data.images import ResizedImages
from lit_vision.data.kept_images import Keeping, KeptImages
from lit_vision.errors import UserError
from lit_vision.utils.log import log_info


class ImageSource(ABC):
    """Labelled images in one or more splits.

    Attributes:
        root: folder of the data.
        exclude: the images that are left out.
    """

    root: Path
    exclude: Exclude

    @property
    @abstractmethod
    def class_names(self) -> list[str]:
        """One name for each label, known without a download."""

    @property
    @abstractmethod
    def split_names(self) -> list[str]:
        """The data set's own splits: of train, val and test those that exist, in this order."""

    @property
    @abstractmethod
    def native_size(self) -> int:
        """Side in pixels of the images before resizing; they must be square."""

    @abstractmethod
    def load(self, split: str) -> LabelledImages:
        """Load one of ``split_names``."""

    def used(self, split: str) -> LabelledImages:
        """Load one of ``split_names`` without the images that are left out.

        Raises:
            UserError: an image that is to be left out does not exist.
        """
        images = self.load(split)
        if not self.exclude.names:
            return images
        names = image_names(images, self.root, split)
        elsewhere = {other for other in self.split_names if other != split}
        others = {name for name in self.exclude.names if name.partition("/")[0] in elsewhere}
        self.exclude.check_known({*names, *others})
        return self.exclude.drop(images, names)

    def evaluation_split(self, split: str) -> str | None:
        """The data set's own split that serves for ``val`` or ``test``: that split, or else the other; None without."""
        own = [name for name in self.split_names if name != "train"]
        return (own[0] if split == "val" else own[-1]) if own else None

    def left_out(self) -> str:
        """What the data has that is not used, and why, in one line; empty if there is nothing."""
        return f"excluded: {len(self.exclude.names):,}" if self.exclude.names else ""


def load_splits(
    source: ImageSource, stage: str, hold_out: HoldOut, validates: bool = True
) -> dict[str, LabelledImages]:
    """Load the splits of a stage: train and val for fit, val for validate, test for test.

    Args:
        source: the images.
        stage: fit, validate or test; others use no images.
        hold_out: the choice of training images to validate on; with size 0, the source's own split.
        validates: whether a fit validates; the user is told if it does so on the test images.

    Raises:
        UserError: there are no images for one of the splits.
    """
    if stage == "test":
        if (own := source.evaluation_split("test")) is None:
            raise UserError(
                f"{source.root} has no test images: add a test split, or use validate; or if the network was not "
                "trained on these images, name their folder with --data.splits '{test: FOLDER}' (. is all of the root)"
            )
        return {"test": source.used(own)}
    if stage not in ("fit", "validate"):
        return {}
    training = stage == "fit"
    hold_out.check(training)
    if (training or hold_out.size) and "train" not in source.split_names:
        raise UserError(f"{source.root} has no images in train: add some, or change --data.root or --data.splits")
    if hold_out.size:
        divided = hold_out.divide(source.used("train"), source.class_names)
        return divided if training else {"val": divided["val"]}
    own = source.evaluation_split("val")
    if own is None or (training and own == "train"):  # all images of a source may serve, but not for both
        raise UserError(f"{source.root} has no images for validation: hold some out with --data.val_size")
    if training and validates and own == source.evaluation_split("test"):
        log_info(
            f"val_size is 0: validation uses the split {own!r}, and so does test. The best checkpoint is chosen on "
            "it, so its test is not independent: hold out training images with --data.val_size"
        )
    train = {"train": source.used("train")} if training else {}
    return {**train, "val": source.used(own)}


def origin_of(source: ImageSource, split: str, hold_out: HoldOut) -> str:
    """The split of the data set that the images of train, val or test are from."""
    return (
        "train" if split == "train" or (split == "val" and hold_out.size) else source.evaluation_split(split) or split
    )


def check_no_class_is_empty(labels: Tensor, class_names: Sequence[str], option: str) -> None:
    """Check that there are training images of each class.

    Args:
        labels: (N,) int64, those of the training images.
        class_names: a name for each label.
        option: the option that needs them, for the error.

    Raises:
        UserError: a class has none.
    """
    counts = labels.bincount(minlength=len(class_names)).tolist()
    empty = [name for name, count in zip(class_names, counts, strict=True) if not count]
    if empty:
        more = f" and {len(empty) - 3} more classes" if len(empty) > 3 else ""
        raise UserError(
            f"there is no training image of {', '.join(empty[:3])}{more}: add some, leave the class out, or leave "
            f"{option} out"
        )


def check_labels(labels: Tensor, class_names: Sequence[str], balance: bool, mixing: Sequence[str]) -> None:
    """Check that there are training images of as many classes as the options need.

    Args:
        labels: (N,) int64, those of the training images.
        class_names: a name for each label.
        balance: whether the classes are balanced, which needs all of them.
        mixing: the augmentations that mix images, which need two classes.

    Raises:
        UserError: there are not.
    """
    if balance:
        check_no_class_is_empty(labels, class_names, "--data.balance")
    if mixing and len(labels.unique()) < 2:
        raise UserError(f"{' and '.join(mixing)} needs training images of two classes: leave it out of --data.augment")


def describe(splits: Mapping[str, LabelledImages], source: ImageSource) -> str:
    """Say how many images of how many classes each split has, a line each, and what the source leaves out."""
    lines = []
    for split, images in splits.items():
        labels = images.labels.unique().tolist()
        names = ", ".join(source.class_names[label] for label in labels)
        shown = f" ({names})" if len(names) <= 60 else ""
        count = f"{len(images.labels):,} {'image' if len(images.labels) == 1 else 'images'}"
        classes = f"{len(labels)} {'class' if len(labels) == 1 else 'classes'}"
        lines.append(f"{split}: {count} of {classes}{shown}")
    if left_out := source.left_out():
        lines.append(f"left out: {left_out}")
    return "\n".join(lines)


def keep(
    source: LabelledImages, split: str, image_size: int, resize: Resize, place: str, keeping: Keeping
) -> LabelledImages:
    """Keep a split, so that no image is decoded and resized more than once, and check that all can be.

    Args:
        source: the images of the split.
        split: name of the split, for messages.
        image_size: side in pixels of the images in the result.
        resize: how to resize images that are already in memory.
        place: where the images come from.
        keeping: where they are kept.

    Returns:
        The images, with their labels: (N, 3, image_size, image_size) uint8, or kept images.

    Raises:
        UserError: files cannot be decoded; the message names them.
    """
    images = source.images
    if isinstance(images, Tensor):
        if images.shape[-1] == image_size and resize == "stretch":
            return source
        images = ResizedImages(images, image_size, resize)
    kept = KeptImages(images.of_size(image_size), split, place, keeping)
    kept.check_readable()
    return source._replace(images=kept)
