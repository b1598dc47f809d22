import pytest
import torch
import torchvision.transforms.v2 as T

from lit_vision.data import ShapesDataModule
from lit_vision.data.batch import Batch, DrawnBatch, MixedBatch
from lit_vision.data.loader import BatchLoader
from lit_vision.data.mixing import beta, cutmix, mix, mixup
from lit_vision.data.transforms import KeyedRandom

IMAGE = torch.rand(50, 3, 12, 16, generator=torch.Generator().manual_seed(0))
LABEL = torch.arange(50) % 5


def test_mixup_and_cutmix_are_torchvisions():
    other = IMAGE.roll(1, 0)
    transform = T.MixUp(num_classes=5)
    expected = transform.transform(IMAGE, {"lam": 0.3, "labels": LABEL, "batch_size": 50})
    torch.testing.assert_close(mixup(IMAGE, other, torch.full((50,), 0.3)), expected)
    torch.manual_seed(0)
    cut = T.CutMix(num_classes=5)
    for _ in range(20):
        params = cut.make_params([IMAGE])
        x1, y1, x2, y2 = params["box"]
        expected = cut.transform(IMAGE, {**params, "labels": LABEL, "batch_size": 50})
        torch.manual_seed(len(expected))
        share = 1 - ((x2 - x1) / 16) ** 2
        if x2 - x1 < 16 and x1 > 0 and x2 < 16 and y1 > 0 and y2 < 12:  # not cut off at the border
            centre = (torch.full((50,), ((x1 + x2) / 2 + 0.25) / 16), torch.full((50,), ((y1 + y2) / 2 + 0.25) / 12))
            ours, shares = cutmix(IMAGE, other, torch.full((50,), share - 1e-6), *centre)
            if int(0.5 * (1 - share) ** 0.5 * 12) * 2 == y2 - y1:
                assert torch.equal(ours, expected)
                assert shares[0].item() == pytest.approx(params["lam_adjusted"])


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5, 1.0])
def test_shares_follow_the_beta_distribution(alpha):
    drawn = beta(KeyedRandom(torch.arange(20000), 0, 0), alpha)
    assert drawn.mean() == pytest.approx(0.5, abs=0.015)
    assert drawn.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)
    assert drawn.isfinite().all()


@pytest.mark.parametrize("alphas", [{"mixup": 1.0}, {"cutmix": 1.0}, {"mixup": 0.2, "cutmix": 1.0}])
def test_the_label_is_that_of_the_larger_part(alphas):
    plain = torch.arange(50.0)[:, None, None, None].expand(50, 3, 8, 8)
    batch = DrawnBatch(plain, torch.arange(50), torch.arange(50), torch.zeros(50).long(), torch.arange(1, 50))
    mixed = mix(batch, alphas, (0, 0))
    assert isinstance(mixed, MixedBatch)
    assert len(mixed.label) == len(mixed.image) == len(mixed.share) == 49
    assert mixed.share.min() >= 0.5
    mean = mixed.share * mixed.label + (1 - mixed.share) * mixed.other
    torch.testing.assert_close(mixed.image.mean((1, 2, 3)), mean)
    assert 1 < (mixed.label != torch.arange(49)).sum() < 40
    assert isinstance(mix(batch, alphas, None), Batch)


def mixed_images(batch_size, ranks=1, **options):
    """The mixed image of each image of an epoch, by its index."""
    images = torch.randint(256, (37, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = ShapesDataModule(augment=["flip", {"mixup": {"alpha": 1.0}}, "cutmix"], image_size=8, seed=0)
    found = {}
    for rank in range(ranks):
        for batch in BatchLoader(images, torch.arange(37) % 3, batch_size, 0, rank, ranks, pairs=True, **options):
            done = data.preprocess(batch, 0)
            if not len(done.label):
                continue
            assert isinstance(done, MixedBatch)
            found |= {
                int(i): (x, int(a), int(b))
                for i, x, a, b in zip(done.index, done.image, done.label, done.other, strict=True)
            }
    return found


@pytest.mark.parametrize(("batch_size", "ranks"), [(8, 1), (5, 2), (4, 3), (37, 1)])
def test_what_an_image_is_mixed_with_does_not_depend_on_batches_or_processes(batch_size, ranks):
    whole, other = mixed_images(10), mixed_images(batch_size, ranks)
    assert whole.keys() == other.keys() == set(range(37))
    for index, (image, *labels) in whole.items():
        torch.testing.assert_close(image, other[index][0])
        assert labels == list(other[index][1:])
