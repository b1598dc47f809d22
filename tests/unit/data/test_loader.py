import pytest
import torch

from lit_vision.data.images import LazyImages
from lit_vision.data.loader import BatchLoader

IMAGES = torch.arange(23, dtype=torch.uint8)[:, None, None, None].expand(23, 3, 2, 2).contiguous()
LABELS = torch.arange(23) % 3


class Slow(LazyImages):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]

    def subset(self, index):
        return Slow(self.images[index])


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
    # which is what the Trainer does in the first epoch after a resume
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
    loader = BatchLoader(IMAGES, LABELS, 4, seed=0, device="meta")  # which has shapes and no values
    batches = list(loader)
    assert {tensor.device.type for batch in batches for tensor in batch} == {"meta"}
    assert [len(batch.label) for batch in batches] == [4, 4, 4, 4, 4, 3]
    assert loader.take(torch.tensor([3])).image.device.type == "cpu"
    streamed = next(iter(BatchLoader(Slow(IMAGES), LABELS, 4, seed=0, device="meta")))
    assert streamed.image.device.type == "cpu"
