import pytest
import torch

from lit_vision.data import ImageDataModule, ImageFolderDataModule, ShapesDataModule
from lit_vision.data.augment import read_augment
from lit_vision.data.batch import LabelledImages
from lit_vision.errors import UserError


def test_names_and_options():
    read = read_augment(["flip", {"rotate": {"degrees": 20}}, {"random_resized_crop": {"scale": [0.5, 1]}}])
    assert list(read) == ["flip", "rotate", "random_resized_crop"]
    assert read["rotate"] == {"degrees": 20}
    assert read["random_resized_crop"] == {"scale": (0.5, 1), "ratio": (3 / 4, 4 / 3)}
    assert read_augment({"rotate": None, "flip": {}}) == {"rotate": {"degrees": 10.0}, "flip": {"p": 0.5}}
    assert read_augment(()) == {}


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (["rotat"], r"there is no augmentation rotat \(did you mean rotate"),
        ([{"rotate": {"degree": 3}}], r"rotate has no option degree \(did you mean degrees\?\)"),
        ([{"rotate": {"degrees": 200}}], "degrees 200 of rotate is out of range: use a number from 0 to 180"),
        ([{"rotate": {"degrees": "x"}}], "degrees x of rotate is out of range"),
        ([{"rotate": {"degrees": float("nan")}}], "degrees nan of rotate is out of range"),
        ([{"rotate": 20}], r"use --data\.augment '\[\{rotate: \{degrees: 10\}\}\]'"),
        ([{"translate": {"pixels": 1.5}}], "use a whole number from 1 to 1000"),
        ([{"mixup": {"alpha": 0}}], "alpha 0 of mixup is out of range"),
        ([{"random_resized_crop": {"scale": [1, 0.5]}}], r"scale \[1, 0.5\] of .* two rising numbers"),
        ([{"random_erasing": {"p": 1.1}}], r"p 1.1 of random_erasing"),
        (["flip", "flip"], "flip comes twice"),
        ("flip,jitter", r"use --data\.augment '\[flip, jitter\]'"),
    ],
)
def test_what_cannot_be_meant(augment, message):
    with pytest.raises(UserError, match=message):
        ShapesDataModule(augment=augment)


def test_training_images_are_kept_large_enough_for_crops(folders):
    root = folders({"train": {"red": 3, "blue": 3}, "val": {"red": 2}}, size=100)
    crop = [{"random_resized_crop": {"scale": [0.3, 0.7]}}]
    data = ImageFolderDataModule(root, image_size=32, augment=crop, batch_size=6, seed=0)
    data.setup("fit")
    raw = next(iter(data.train_dataloader()))
    assert raw.image.shape[-1] == 45  # 32 / sqrt(0.5)
    assert next(iter(data.val_dataloader())).image.shape[-1] == 32
    for epoch in (0, None):
        assert data.preprocess(raw, epoch).image.shape == (6, 3, 32, 32)
    assert data.preprocess(raw, 0).image.is_contiguous(memory_format=torch.channels_last)


class InMemory(ImageDataModule):
    """Images of 32 pixels."""

    class_names = ["a", "b"]
    split_names = ["train"]
    native_size = 32

    def load(self, split):
        return LabelledImages(torch.zeros(20, 3, 32, 32, dtype=torch.uint8), torch.arange(20) % 2)


@pytest.mark.parametrize(("image_size", "kept"), [(32, 32), (24, 32), (16, 22), (64, 64)])
def test_images_in_memory_are_not_enlarged_for_crops(image_size, kept):
    crop = [{"random_resized_crop": {"scale": [0.08, 1.0]}}]
    data = InMemory(batch_size=5, val_size=5, image_size=image_size, augment=crop, seed=0)
    data.setup("fit")
    raw = next(iter(data.train_dataloader()))
    assert raw.image.shape[-1] == kept
    assert data.preprocess(raw, 0).image.shape[-1] == data.preprocess(raw).image.shape[-1] == image_size
