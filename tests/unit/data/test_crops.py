import pytest
import torch
import torchvision.transforms.v2 as T
import torchvision.transforms.v2.functional as TF

from lit_vision.data.crops import random_erasing, random_resized_crop, resized_crops
from lit_vision.data.transforms import KeyedRandom

IMAGE = torch.rand(200, 3, 40, 50, generator=torch.Generator().manual_seed(0))
INDEX = torch.arange(200)


@pytest.mark.parametrize("side", [8, 24, 64])
def test_crops_are_torchvisions(side):
    boxes = torch.tensor([[0, 0, 40, 50], [3, 7, 20, 30], [10, 11, 5, 9], [39, 49, 1, 1]])
    ours = resized_crops(IMAGE[:4], *boxes.T, side)
    for image, (top, left, height, width), result in zip(IMAGE, boxes.tolist(), ours, strict=False):
        expected = TF.resized_crop(image, top, left, height, width, [side, side], antialias=True)
        torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)


def boxes_of(images):
    """The left, top, right and bottom of what was cut out of images whose pixels are their own places."""
    return [[round(float(image[channel].flatten()[end])) for end in (0, -1) for channel in (0, 1)] for image in images]


def test_random_crops_are_drawn_as_torchvisions():
    image = torch.stack(torch.meshgrid(torch.arange(60.0), torch.arange(60.0), indexing="ij")).flip(0)
    image = torch.cat([image, image[:1]])[None].expand(4000, -1, -1, -1) / 60
    random = KeyedRandom(torch.arange(4000), 0, 0)
    ours = random_resized_crop(image, random, 30, (0.2, 0.9), (0.5, 1.5)) * 60
    torch.manual_seed(0)
    crop = T.RandomResizedCrop(30, (0.2, 0.9), (0.5, 1.5), antialias=True)
    theirs = torch.stack([crop(one) for one in image[:1000]]) * 60
    for mine, other in ((ours[:, 0], theirs[:, 0]), (ours[:, 1], theirs[:, 1])):
        for statistic in (lambda x: x.amax((1, 2)) - x.amin((1, 2)), lambda x: x.mean((1, 2))):
            a, b = statistic(mine), statistic(other)
            assert float(a.mean()) == pytest.approx(float(b.mean()), abs=4 * float(b.std()) / 1000**0.5)
            assert float(a.std()) == pytest.approx(float(b.std()), rel=0.1)


def test_where_no_crop_fits_the_middle_is_taken_as_by_torchvision():
    ours = random_resized_crop(IMAGE[:, :, :10], KeyedRandom(INDEX, 0, 0), 16, (1.0, 1.0), (0.75, 4 / 3))
    expected = T.RandomResizedCrop(16, (1.0, 1.0), antialias=True)(IMAGE[:, :, :10])
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


def test_erasing_is_torchvisions():
    erased = random_erasing(IMAGE, KeyedRandom(INDEX, 0, 0), 0.5, (0.02, 0.33), (0.3, 3.3))
    changed = (erased != IMAGE).any(1)
    hit = changed.flatten(1).any(1)
    assert 70 < hit.sum() < 130
    for image, result, where in zip(IMAGE[hit], erased[hit], changed[hit], strict=True):
        rows, columns = where.any(1).nonzero(), where.any(0).nonzero()
        top, left = int(rows[0]), int(columns[0])
        height, width = int(rows[-1]) + 1 - top, int(columns[-1]) + 1 - left
        assert 0.015 < height * width / 2000 < 0.35
        assert 0.2 < height / width < 4
        assert torch.equal(result, TF.erase(image, top, left, height, width, torch.zeros(1, 1, 1)))
    everything = random_erasing(IMAGE, KeyedRandom(INDEX, 0, 0), 1.0, (0.1, 0.1), (1.0, 1.0))
    areas = (everything != IMAGE).any(1).flatten(1).sum(1)
    assert areas.float().mean() == pytest.approx(14 * 14)
