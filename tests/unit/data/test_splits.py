import pytest
import torch

from lit_vision.data import ImageDataModule
from lit_vision.data.batch import LabelledImages
from lit_vision.data.hold_out import HoldOut
from lit_vision.data.splits import describe, load_splits
from lit_vision.errors import UserError


class Numbers(ImageDataModule):
    """Twelve images in each split; the pixels say which."""

    class_names = ["even", "odd"]
    split_names = []
    native_size = 2

    def __init__(self, *split_names):
        super().__init__()
        self.split_names = list(split_names)

    def load(self, split):
        index = torch.arange(12)
        images = index + 20 * ["train", "val", "test"].index(split)
        return LabelledImages(images[:, None, None, None].expand(-1, 3, 2, 2).to(torch.uint8), index % 2)


def sources(splits):
    return {split: sorted({int(value) // 20 for value in part.images.flatten()}) for split, part in splits.items()}


@pytest.mark.parametrize(
    ("names", "stage", "size", "expected"),
    [
        (("train", "val", "test"), "fit", 0, {"train": [0], "val": [1]}),
        (("train", "val", "test"), "fit", 4, {"train": [0], "val": [0]}),
        (("train", "val", "test"), "validate", 0, {"val": [1]}),
        (("train", "val", "test"), "validate", 4, {"val": [0]}),
        (("train", "val", "test"), "test", 4, {"test": [2]}),
        (("train", "test"), "fit", 0, {"train": [0], "val": [2]}),
        (("train", "val"), "test", 0, {"test": [1]}),
        (("test",), "test", 0, {"test": [2]}),
        (("test",), "validate", 0, {"val": [2]}),
        (("val",), "validate", 0, {"val": [1]}),
        (("train",), "predict", 0, {}),
    ],
)
def test_the_splits_of_a_stage(names, stage, size, expected):
    assert sources(load_splits(Numbers(*names), stage, HoldOut(size, 0))) == expected


@pytest.mark.parametrize(
    ("names", "stage", "size", "message"),
    [
        (("train",), "fit", 0, "no images for validation"),
        (("train",), "test", 3, "no test images.*'{test: FOLDER}'"),
        (("val", "test"), "fit", 0, "no images in train"),
        (("test",), "validate", 3, "no images in train"),
        (("train",), "fit", 12, "val_size 12 is too large"),
    ],
)
def test_missing_splits_are_told(names, stage, size, message):
    with pytest.raises(UserError, match=message):
        load_splits(Numbers(*names), stage, HoldOut(size, 0))


def test_a_split_is_described():
    data = Numbers("train", "test")
    whole = data.load("train")
    parts = {"train": whole, "val": whole.subset(torch.tensor([1]))}
    assert describe(parts, data) == "train: 12 images of 2 classes (even, odd)\nval: 1 image of 1 class (odd)"
    data.class_names = ["a" * 40, "b" * 40]
    assert describe({"train": whole}, data) == "train: 12 images of 2 classes"
