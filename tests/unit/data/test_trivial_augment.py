import pytest
import torch
import torchvision.transforms.v2 as T

from lit_vision.data.transforms import KeyedRandom
from lit_vision.data.trivial_augment import OPERATIONS, apply, trivial_augment

IMAGE = torch.rand(4, 3, 40, 40, generator=torch.Generator().manual_seed(0))
THEIRS = T.TrivialAugmentWide()


@pytest.mark.parametrize("name", THEIRS._AUGMENTATION_SPACE)
@pytest.mark.parametrize("strength", [0, 7, 15, 30])
@pytest.mark.parametrize("sign", [1, -1])
def test_each_operation_is_torchvisions(name, strength, sign):
    magnitudes, signed = THEIRS._AUGMENTATION_SPACE[name]
    values = magnitudes(31, 40, 40)
    magnitude = 0.0 if values is None else float(values[strength]) * (sign if signed else 1)
    expected = THEIRS._apply_image_or_video_transform(IMAGE, name, magnitude, T.InterpolationMode.NEAREST, {})
    ours = name.lower() if name in ("AutoContrast",) else "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
    result = apply(ours.strip("_"), IMAGE, strength, 31, sign < 0)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)


def test_there_are_the_same_operations():
    assert len(OPERATIONS) == len(THEIRS._AUGMENTATION_SPACE)


def test_every_image_has_an_operation_of_its_own():
    same = IMAGE[:1].expand(300, -1, -1, -1)
    kinds = trivial_augment(same, KeyedRandom(torch.arange(300), 0, 0), 31).flatten(1).unique(dim=0)
    assert len(kinds) > 100
