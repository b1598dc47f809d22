import pytest
import torch
import torchvision.transforms.v2.functional as TF

from lit_vision.data import ShapesDataModule


def split(seed=0, name="train", **options):
    return ShapesDataModule(seed=seed, **options).load(name)


def test_same_seed_same_images():
    first, again, other = (split(seed, train_size=40) for seed in (0, 0, 1))
    assert first.images.shape == (40, 3, 32, 32)
    assert first.images.dtype == torch.uint8
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    assert torch.bincount(first.labels).tolist() == [4] * 10


def test_seed_everything_does_not_change_the_images(monkeypatch):
    images = []
    for seed in ("0", "3"):
        monkeypatch.setenv("PL_GLOBAL_SEED", seed)
        images.append(ShapesDataModule(train_size=40).load("train").images)
    assert torch.equal(*images)


def test_train_and_test_share_no_image():
    train = {image.numpy().tobytes() for image in split(train_size=500).images}
    test = {image.numpy().tobytes() for image in split(name="test", test_size=500).images}
    assert len(train) == len(test) == 500
    assert not train & test


def test_image_size_is_drawn():
    module = ShapesDataModule(train_size=20, image_size=64, seed=0)
    assert module.load("train").images.shape[-1] == 64


@pytest.mark.slow
def test_a_linear_model_stays_under_70_percent():
    # Ridge regression on the one-hot labels, over a range of strengths: the best that a linear model does.
    train, test = split(train_size=6000), split(name="test", test_size=2000)
    x, x_test = (part.images.flatten(1).double() / 127.5 - 1 for part in (train, test))
    x, x_test = (torch.cat([part, torch.ones(len(part), 1)], 1) for part in (x, x_test))
    targets = torch.nn.functional.one_hot(train.labels, 10).double()
    gram = x.T @ x
    best = 0.0
    for strength in (10.0, 100.0, 1000.0, 10000.0):
        weights = torch.linalg.solve(gram + strength * torch.eye(len(gram)), x.T @ targets)
        best = max(best, ((x_test @ weights).argmax(1) == test.labels).double().mean().item())
    assert 0.05 < best < 0.7


def test_batches_are_normalised_and_have_channels_last_in_memory():
    data = ShapesDataModule(train_size=20, test_size=10, val_size=0, batch_size=5, mean=(0.1, 0.2, 0.3), seed=0)
    data.setup("fit")
    raw = next(iter(data.train_dataloader()))
    image = data.on_after_batch_transfer(raw, 0).image
    expected = (raw.image / 255 - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / 0.5
    torch.testing.assert_close(image, expected)
    assert image.is_contiguous(memory_format=torch.channels_last)


def test_crop_epochs_crop_training_images_and_no_others():
    data = ShapesDataModule(train_size=20, test_size=10, val_size=0, batch_size=5, crop_epochs=2, crop_size=24, seed=0)
    data.setup("fit")
    raw = next(iter(data.train_dataloader()))
    sides = [data.preprocess(raw, epoch).image.shape[-1] for epoch in (0, 1, 2, None)]
    assert sides == [24, 24, 32, 32]
    assert torch.equal(data.preprocess(raw, 2).image, data.on_after_batch_transfer(raw, 0).image)
    assert data.preprocess(raw, 0).image.is_contiguous(memory_format=torch.channels_last)


def test_crops_are_taken_from_images_of_another_size():
    sizes = {"train_size": 20, "test_size": 10, "val_size": 0, "batch_size": 5, "seed": 0, "crop_epochs": 1}
    whole = ShapesDataModule(**sizes, crop_size=24, crop_from=24)
    whole.setup("fit")
    raw = next(iter(whole.train_dataloader()))
    resized = TF.resize(raw.image.float() / 255, [24, 24], antialias=True)
    torch.testing.assert_close(whole.preprocess(raw, 0).image, (resized - 0.5) / 0.5, atol=1e-5, rtol=1e-5)
    parts = ShapesDataModule(**sizes, crop_size=20, crop_from=24)
    parts.setup("fit")
    found = parts.preprocess(raw, 0).image
    assert found.shape == (5, 3, 20, 20)
    for image, part in zip((resized - 0.5) / 0.5, found, strict=True):
        windows = image.unfold(1, 20, 1).unfold(2, 20, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
        assert (windows - part).abs().flatten(1).amax(1).min() < 1e-5
    assert parts.preprocess(raw, 1).image.shape == parts.preprocess(raw).image.shape == (5, 3, 32, 32)
