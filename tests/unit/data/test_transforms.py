import pytest
import torch
import torchvision.transforms.v2.functional as TF

from lit_vision.data.augment import KINDS, read_augment
from lit_vision.data.augment import augment as apply
from lit_vision.data.transforms import (
    KeyedRandom,
    Normalization,
    flip,
    jitter,
    normalize,
    random_crop,
    rotate,
    to_float,
    translate,
)

SQUARE = torch.rand(64, 3, 20, 20, generator=torch.Generator().manual_seed(1))
IMAGE = torch.rand(64, 3, 16, 24, generator=torch.Generator().manual_seed(0))
INDEX = torch.arange(64)
FEWEST_KINDS = {
    "flip": 2,
    "alternating_flip": 2,
    "translate": 20,
    "random_resized_crop": 60,
    "trivial_augment": 30,
    "random_erasing": 20,
}
"""How many different results 64 draws have at least."""


def augment(image, steps, index, seed, epoch):
    return apply(image, read_augment(steps), KeyedRandom(index, seed, epoch), image.shape[-1])


def fixed(**draws):
    """Draws that are chosen instead of random: a value for each name, the same for all images."""
    return lambda name: torch.full((64,), draws[name])


def test_flip_is_torchvisions_and_per_sample():
    assert torch.equal(flip(IMAGE, fixed(flip=0.4)), TF.horizontal_flip(IMAGE))
    assert torch.equal(flip(IMAGE, fixed(flip=0.6)), IMAGE)
    flipped = (augment(IMAGE, ["flip"], INDEX, 0, 0) != IMAGE).flatten(1).any(1)
    assert 16 < flipped.sum() < 48


def test_translate_moves_whole_pixels_and_mirrors_the_border():
    assert torch.equal(translate(IMAGE, fixed(down=0.5, right=0.5)), IMAGE)
    moved = translate(IMAGE, fixed(down=0.99, right=0.0))  # two up, two to the right
    padded = TF.pad(IMAGE, [2, 2, 2, 2], padding_mode="reflect")
    assert torch.equal(moved, padded[:, :, 4:, :24])
    assert torch.equal(moved[:, :, :-2, 2:], IMAGE[:, :, 2:, :-2])


def test_alternating_flip_shows_both_sides_in_two_epochs():
    flipped = [(augment(IMAGE, ["alternating_flip"], INDEX, 0, e) != IMAGE).flatten(1).any(1) for e in range(4)]
    assert 16 < flipped[0].sum() < 48
    assert torch.equal(flipped[0], ~flipped[1])
    assert torch.equal(flipped[0], flipped[2])
    assert torch.equal(flipped[1], flipped[3])
    assert torch.equal(augment(IMAGE, ["alternating_flip"], INDEX, 0, 0)[flipped[0]], IMAGE[flipped[0]].flip(-1))
    other_seed = augment(IMAGE, ["alternating_flip"], INDEX, 1, 0)
    assert not torch.equal(other_seed, augment(IMAGE, ["alternating_flip"], INDEX, 0, 0))


def test_translate_draws_every_place_alike():
    corner = torch.zeros(5000, 3, 9, 9)
    corner[:, :, 4, 4] = 1
    counts = augment(corner, ["translate"], torch.arange(5000), 0, 0)[:, 0].sum(0)
    assert torch.equal(counts > 0, torch.nn.functional.pad(torch.ones(5, 5), (2, 2, 2, 2)) > 0)
    assert counts[2:7, 2:7].min() > 150  # of 200 expected
    assert counts.max() < 250


def test_crop_takes_a_square_from_any_place():
    assert torch.equal(random_crop(IMAGE, fixed(crop_down=0.0, crop_right=0.99), 10), IMAGE[:, :, :10, 14:])
    assert torch.equal(random_crop(IMAGE, fixed(crop_down=0.5, crop_right=0.0), 16), IMAGE[:, :, :, :16])
    numbered = torch.arange(9.0).reshape(1, 1, 3, 3).expand(900, 3, 3, 3)
    pixels = random_crop(numbered, KeyedRandom(torch.arange(900), 0, 0), 1)
    assert torch.bincount(pixels[:, 0].flatten().long(), minlength=9).min() > 70  # of 100 expected
    assert random_crop(IMAGE[:0], KeyedRandom(INDEX[:0], 0, 0), 10).shape == (0, 3, 10, 10)


def test_rotate_is_torchvisions():
    upper = rotate(IMAGE, fixed(rotate=1.0))
    expected = TF.rotate(IMAGE, 10.0, interpolation=TF.InterpolationMode.BILINEAR)
    torch.testing.assert_close(upper, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(rotate(IMAGE, fixed(rotate=0.5)), IMAGE, atol=1e-5, rtol=0)


def test_jitter_is_torchvisions():
    draws = {"brightness": 1.0, "contrast": 0.25, "saturation": 0.75}  # factors 1.2, 0.9, 1.1
    expected = TF.adjust_saturation(TF.adjust_contrast(TF.adjust_brightness(IMAGE, 1.2), 0.9), 1.1)
    torch.testing.assert_close(jitter(IMAGE, fixed(**draws)), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", [name for name in KINDS if name not in ("mixup", "cutmix")])
def test_draws_are_per_image_and_do_not_depend_on_the_batch(name):
    image = SQUARE if name == "random_resized_crop" else IMAGE
    whole = augment(image, [name], INDEX, 0, 3)
    part = augment(image[10:13], [name], INDEX[10:13], 0, 3)
    torch.testing.assert_close(part, whole[10:13])
    same = image[:1].expand(64, -1, -1, -1)
    kinds = len(augment(same, [name], INDEX, 0, 0).flatten(1).unique(dim=0))
    assert kinds >= FEWEST_KINDS.get(name, 64)
    assert not torch.equal(whole, augment(image, [name], INDEX, 0, 4))
    assert not torch.equal(whole, augment(image, [name], INDEX, 1, 3))
    assert whole.min() >= 0
    assert whole.max() <= 1


def test_normalisation_is_the_notebooks():
    image = torch.tensor([0, 128, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    half = torch.full((3, 1, 1), 0.5)
    assert normalize(to_float(image), half, half).flatten().tolist() == pytest.approx([-1, 1 / 255, 1], abs=1e-6)


def test_normalization_is_per_channel_with_channels_last_in_memory():
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 0.2)
    normalized = Normalization(mean, std)(IMAGE.clone())
    assert torch.equal(normalized, TF.normalize(IMAGE, mean, std))
    assert normalized.is_contiguous(memory_format=torch.channels_last)
