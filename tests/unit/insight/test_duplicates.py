from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from lit_vision.data import ShapesDataModule
from lit_vision.insight.duplicates import (
    SIDE,
    Pair,
    exact_copies,
    groups_of,
    is_mirrored,
    near_copies,
    perceptual_hash,
    shrink,
)


def photo(seed):
    """A picture with structures of several sizes."""
    generator = torch.Generator().manual_seed(seed)
    parts = [torch.nn.functional.interpolate(torch.rand(1, 3, n, n, generator=generator), 200) for n in (3, 6, 12, 50)]
    return Image.fromarray((sum(parts)[0] / 4 * 255).byte().permute(1, 2, 0).numpy())


def found(*pictures):
    seen = [torch.from_numpy(np.array(picture.resize((SIDE, SIDE)))).permute(2, 0, 1) for picture in pictures]
    hashes, mirrored = (
        torch.stack([perceptual_hash(one) for one in part]) for part in (seen, [p.flip(-1) for p in seen])
    )
    return near_copies(torch.stack([shrink(one) for one in seen]), hashes, mirrored)


def as_jpeg(picture, quality):
    content = BytesIO()
    picture.save(content, "jpeg", quality=quality)
    return Image.open(content)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "change",
    [
        lambda picture: as_jpeg(picture, 40),
        lambda picture: as_jpeg(picture.resize((90, 90)), 70),
        lambda picture: picture.resize((500, 400)),
        lambda picture: picture.point(lambda value: 0.8 * value + 20),
    ],
)
def test_changed_copies_are_found(seed, change):
    assert found(photo(seed), photo(seed + 50), change(photo(seed))) == [Pair(0, 2)]


def test_a_mirror_image_is_found_as_such():
    mirrored = photo(0).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert found(photo(0), mirrored, photo(1)) == [Pair(0, 1, mirrored=True)]


def test_a_copy_of_a_mirror_image_is_mirrored():
    plain = torch.from_numpy(np.array(photo(0).resize((32, 32)))).permute(2, 0, 1)
    changed = torch.from_numpy(np.array(as_jpeg(photo(0), 50).resize((32, 32)))).permute(2, 0, 1)
    assert is_mirrored(plain, changed.flip(-1))
    assert not is_mirrored(plain, changed)
    assert not is_mirrored(torch.zeros(3, 32, 32), torch.zeros(3, 32, 32))


def test_different_pictures_are_no_copies():
    assert found(*(photo(seed) for seed in range(40))) == []
    plain = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue", "green", "red")]
    assert found(*plain) == [Pair(0, 3)]


def test_a_common_background_does_not_make_copies():
    images = ShapesDataModule(train_size=1000).load("train").images[:1000]
    assert len(found(*(Image.fromarray(one.permute(1, 2, 0).numpy()) for one in images))) <= 1


def test_the_same_content_is_paired_with_the_first():
    assert exact_copies([b"a", b"b", b"a", b"a", b"c", b"b"]) == [
        Pair(0, 2, exact=True),
        Pair(0, 3, exact=True),
        Pair(1, 5, exact=True),
    ]


def test_copies_of_copies_are_one_group():
    assert groups_of(6, [Pair(0, 2), Pair(2, 4), Pair(3, 5)]).tolist() == [0, 1, 0, 3, 0, 3]
