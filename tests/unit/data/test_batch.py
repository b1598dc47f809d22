import torch

from lit_vision.data.batch import LabelledImages, evenly_spaced
from lit_vision.data.images import ResizedImages


def test_a_subset_keeps_images_and_labels_together():
    images = torch.arange(4, dtype=torch.uint8)[:, None, None, None].expand(4, 3, 2, 2)
    for kind in (images, ResizedImages(images, 2, "stretch")):
        part = LabelledImages(kind, torch.arange(4) * 10).subset(torch.tensor([3, 1]))
        assert part.labels.tolist() == [30, 10]
        assert [int(part.images[i].unique()) for i in range(2)] == [3, 1]


def test_evenly_spaced():
    assert evenly_spaced(10, 5).tolist() == [0, 2, 4, 6, 8]
    assert evenly_spaced(3, 5).tolist() == [0, 1, 2]
    assert evenly_spaced(0, 5).tolist() == []
