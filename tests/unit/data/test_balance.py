import torch

from lit_vision.data.balance import balanced_order, repetitions
from lit_vision.data.loader import BatchLoader

LABELS = torch.tensor([0] * 50 + [1] * 30 + [2] * 3)


def test_classes_come_equally_often_and_the_images_of_a_class_too():
    for epoch in range(4):
        order = balanced_order(LABELS, 0, epoch)
        counts = order.bincount(minlength=len(LABELS))
        per_class = LABELS[order].bincount().tolist()
        assert sorted(per_class) == [27, 28, 28]
        for label in range(3):
            own = counts[label == LABELS]
            assert own.max() - own.min() <= 1
    assert not torch.equal(order, balanced_order(LABELS, 0, 0))
    assert torch.equal(order, balanced_order(LABELS, 0, 3))


def test_repetitions_are_counted():
    assert repetitions(torch.tensor([3, 1, 3, 3, 1, 0])).tolist() == [0, 0, 1, 2, 1, 0]


def test_an_image_that_is_repeated_has_draws_of_its_own_each_time():
    images = torch.zeros(len(LABELS), 3, 4, 4, dtype=torch.uint8)
    batches = list(BatchLoader(images, LABELS, 16, seed=0, balance=True))
    draws = torch.cat([batch.draws for batch in batches])
    assert len(draws.unique()) == len(draws) == len(LABELS)
    index = torch.cat([batch.index for batch in batches])
    assert len(index.unique()) < len(index)
    assert torch.equal(draws[draws < 2**40], index[draws < 2**40])
