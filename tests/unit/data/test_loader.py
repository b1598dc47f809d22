import threading

import pytest
import torch

from lit_vision.data.batch import Batch, FeatureBatch
from lit_vision.data.images import LazyImages
from lit_vision.data.loader import BatchLoader
from lit_vision.errors import UserError

IMAGES = torch.arange(23, dtype=torch.uint8)[:, None, None, None].expand(23, 3, 2, 2).contiguous()
LABELS = torch.arange(23) % 3


class Slow(LazyImages):
    image_size = 2

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]

    def subset(self, index):
        return Slow(self.images[index])

    def ids(self):
        return [bytes(16)] * len(self.images)

    decoding = {}


def test_every_image_once_with_its_own_label_and_index():
    loader = BatchLoader(IMAGES, LABELS, 4, seed=0)
    batches = list(loader)
    assert len(batches) == len(loader) == 6
    assert [len(batch.label) for batch in batches] == [4, 4, 4, 4, 4, 3]
    index = torch.cat([batch.index for batch in batches])
    assert torch.equal(index.sort().values, torch.arange(23))
    for batch in batches:
        assert batch.image.dtype == torch.uint8
        assert torch.equal(batch.image[:, 0, 0, 0].long(), batch.index)
        assert torch.equal(batch.label, batch.index % 3)


def orders(loader, epochs=3):
    found = []
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        found.append(torch.cat([batch.index for batch in loader]).tolist())
    return found


def test_order_is_drawn_from_seed_and_epoch_alone():
    first = orders(BatchLoader(IMAGES, LABELS, 4, seed=0))
    torch.manual_seed(123)
    assert orders(BatchLoader(IMAGES, LABELS, 7, seed=0)) == first  # nor the batch size, nor a global generator
    assert len({tuple(order) for order in first}) == 3
    assert orders(BatchLoader(IMAGES, LABELS, 4, seed=1)) != first
    assert orders(BatchLoader(IMAGES, LABELS, 4, seed=None))[1] == list(range(23))


def test_epoch_may_be_set_after_the_iterator_is_made():
    # as the Trainer does in the first epoch after a resume
    loader = BatchLoader(IMAGES, LABELS, 23, seed=0)
    iterator = iter(loader)
    loader.sampler.set_epoch(2)
    assert next(iterator).index.tolist() == orders(BatchLoader(IMAGES, LABELS, 23, seed=0))[2]


@pytest.mark.parametrize("stop", [0, 1, 5, 6])
def test_resumes_after_the_batch_it_stopped_at(stop):
    loader = BatchLoader(IMAGES, LABELS, 4, seed=0)
    loader.sampler.set_epoch(1)
    iterator = iter(loader)
    done = [next(iterator).index.tolist() for _ in range(stop)]
    fresh = BatchLoader(IMAGES, LABELS, 4, seed=0)
    fresh.load_state_dict(loader.state_dict() if stop else {"epoch": 1, "batch": 0})
    fresh.sampler.set_epoch(1)
    rest = [batch.index.tolist() for batch in fresh]
    assert done + rest == [batch.index.tolist() for batch in fresh]  # the next time it starts at the first batch


def test_a_state_of_a_finished_epoch_does_not_shorten_the_next():
    loader = BatchLoader(IMAGES, LABELS, 4, seed=0)
    list(loader)
    loader.load_state_dict(loader.state_dict())
    loader.sampler.set_epoch(1)
    assert len(list(loader)) == 6


@pytest.mark.parametrize("world_size", [1, 2, 4, 7])
def test_a_global_batch_has_the_same_images_in_any_number_of_processes(world_size):
    alone = BatchLoader(IMAGES, LABELS, 6, seed=0)
    ranks = [
        BatchLoader(IMAGES, LABELS, 32, seed=0, rank=rank, world_size=world_size, global_batch_size=6)
        for rank in range(world_size)
    ]
    for number, (whole, *parts) in enumerate(zip(alone, *ranks, strict=True)):
        assert sorted(whole.index.tolist()) == sorted(i for part in parts for i in part.index.tolist())
        weights = [loader.loss_weight(number) for loader in ranks]
        assert sum(weights) == pytest.approx(world_size)
        for part, weight in zip(parts, weights, strict=True):
            assert weight / world_size == pytest.approx(len(part.label) / len(whole.label))


def test_another_number_of_processes_goes_on_and_says_so(caplog):
    two = BatchLoader(IMAGES, LABELS, 3, seed=0, rank=0, world_size=2, global_batch_size=6)
    batches = iter(two)
    next(batches), next(batches)
    one = BatchLoader(IMAGES, LABELS, 3, seed=0, global_batch_size=6)
    expected = [*one][2:]
    one.load_state_dict(two.state_dict())
    assert "trained by 2 processes, not 1" in caplog.text
    assert all(torch.equal(a.index, b.index) for a, b in zip(one, expected, strict=True))
    with pytest.raises(UserError, match=r"in batches of 6, which cannot continue with 3.*--data.global_batch_size"):
        BatchLoader(IMAGES, LABELS, 3, seed=0).load_state_dict(two.state_dict())


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_each_global_batch(world_size):
    alone = BatchLoader(IMAGES, LABELS, 2 * world_size, seed=0)
    ranks = [BatchLoader(IMAGES, LABELS, 2, seed=0, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert {len(loader) for loader in ranks} == {len(alone)}
    for whole, *parts in zip(alone, *ranks, strict=True):
        assert sorted(whole.index.tolist()) == sorted(i for part in parts for i in part.index.tolist())


def test_decoding_ahead_gives_the_same_batches():
    for whole, streamed in zip(
        BatchLoader(IMAGES, LABELS, 4, seed=0), BatchLoader(Slow(IMAGES), LABELS, 4, seed=0, num_workers=3), strict=True
    ):
        assert all(torch.equal(a, b) for a, b in zip(whole, streamed, strict=True))


def test_batches_are_made_on_the_device_that_holds_the_images():
    loader = BatchLoader(IMAGES, LABELS, 4, seed=0, device="meta")  # tensors on it have shapes and no values
    batches = list(loader)
    assert {tensor.device.type for batch in batches for tensor in batch} == {"meta"}
    assert [len(batch.label) for batch in batches] == [4, 4, 4, 4, 4, 3]
    assert loader.take(torch.tensor([3])).image.device.type == "cpu"
    streamed = next(iter(BatchLoader(Slow(IMAGES), LABELS, 4, seed=0, device="meta")))
    assert streamed.image.device.type == "cpu"


def test_a_rank_without_images_in_the_last_step_gets_an_empty_batch():
    whole, streamed = (
        BatchLoader(images[:3], LABELS[:3], 1, rank=1, world_size=2)
        if isinstance(images, torch.Tensor)
        else BatchLoader(images.subset(torch.arange(3)), LABELS[:3], 1, rank=1, world_size=2)
        for images in (IMAGES, Slow(IMAGES))
    )
    for a, b in zip(whole, streamed, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert b.image.shape == (0, 3, 2, 2)
    assert b.image.dtype == torch.uint8


def test_an_iterator_that_is_dropped_ends_its_threads(monkeypatch):
    monkeypatch.setattr("lit_vision.data.decode_ahead.WORTH_A_THREAD", 0.0)
    before = threading.active_count()
    iterator = iter(BatchLoader(Slow(IMAGES), LABELS, 4, num_workers=3))
    for _ in range(4):
        next(iterator)
    assert threading.active_count() > before
    del iterator
    assert threading.active_count() == before


@pytest.mark.parametrize("images", [IMAGES, Slow(IMAGES)])
def test_served_features_take_the_place_of_images(images):
    loader, features = BatchLoader(images, LABELS, 4, seed=0), torch.rand(23, 5)
    with_images = list(loader)
    assert loader.features is None
    loader.serve(features)
    assert loader.features is features
    batches = list(loader)
    assert all(isinstance(batch, FeatureBatch) for batch in batches)
    for batch, other in zip(batches, with_images, strict=True):  # the same images in the same order
        assert torch.equal(batch.features, features[batch.index])
        assert torch.equal(batch.index, other.index)
        assert torch.equal(batch.label, other.label)
    assert all(isinstance(batch, Batch) for batch in loader.sequential(4, torch.tensor([5, 2])))
    assert isinstance(loader.take(torch.tensor([3])), Batch)
    loader.serve(features + 1)
    assert torch.equal(next(iter(loader)).features, features[batches[0].index] + 1)
    loader.serve(None)
    assert all(torch.equal(a, b) for a, b in zip(next(iter(loader)), with_images[0], strict=True))


def test_served_features_resume_within_an_epoch():
    loader = BatchLoader(IMAGES, LABELS, 4, seed=0)
    order = [batch.index.tolist() for batch in loader]
    fresh = BatchLoader(IMAGES, LABELS, 4, seed=0)
    fresh.serve(torch.rand(23, 5))
    fresh.load_state_dict({"epoch": 0, "batch": 2, "batches": 6})
    assert [batch.index.tolist() for batch in fresh] == order[2:]
