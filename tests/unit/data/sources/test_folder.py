import pytest
import torch

from lit_vision.data import ImageFolderDataModule
from lit_vision.errors import UserError

TWO = {"red": 6, "blue": 6}


def batches(module, loader):
    module.setup("fit")
    return list(getattr(module, loader)())


def count(module, split):
    module.setup("test" if split == "test" else "fit")
    return sum(len(batch.label) for batch in getattr(module, f"{split}_dataloader")())


def test_labels_are_the_folders_in_alphabetical_order(folders):
    module = ImageFolderDataModule(folders({"train": TWO, "val": TWO}))
    assert module.class_names == ["blue", "red"]
    for batch in batches(module, "train_dataloader"):
        assert torch.equal(batch.image[:, 0, 0, 0] > 0, batch.label == 1)
        assert torch.equal(batch.image[:, 2, 0, 0] > 0, batch.label == 0)


def test_val_size_holds_out_the_same_images_of_train_for_the_same_val_seed(folders):
    root = folders({"train": {"red": 20, "blue": 20}, "val": TWO})

    def held_out(val_seed, seed=0):
        module = ImageFolderDataModule(root, val_size=10, val_seed=val_seed, seed=seed)
        assert (count(module, "train"), count(module, "val"), count(module, "test")) == (30, 10, 12)
        return {image.numpy().tobytes() for batch in module.val_dataloader() for image in batch.image}

    assert held_out(0) == held_out(0) == held_out(0, seed=1)
    assert held_out(0) != held_out(1)


def test_val_and_train_are_disjoint(folders):
    module = ImageFolderDataModule(folders({"train": {"red": 20, "blue": 20}}), val_size=15, seed=0)
    seen = [
        im.numpy().tobytes() for s in ("train", "val") for b in batches(module, f"{s}_dataloader") for im in b.image
    ]
    assert len(seen) == len(set(seen)) == 40


@pytest.mark.parametrize(
    ("splits", "val", "test"),
    [
        ({"train": TWO, "val": {"red": 1, "blue": 2}, "test": {"red": 2, "blue": 3}}, 3, 5),
        ({"train": TWO, "val": {"red": 1, "blue": 2}}, 3, 3),
        ({"train": TWO, "test": {"red": 2, "blue": 3}}, 5, 5),
    ],
)
def test_val_size_0_takes_the_sets_own_second_split(folders, caplog, splits, val, test):
    module = ImageFolderDataModule(folders(splits))
    assert (count(module, "train"), count(module, "val"), count(module, "test")) == (12, val, test)
    assert ("its test is not independent" in caplog.text) == (val == test)


def test_one_folder_without_splits(folders):
    root = folders({".": {"red": 8, "blue": 8}})
    module = ImageFolderDataModule(root, val_size=4)
    assert (count(module, "train"), count(module, "val")) == (12, 4)
    with pytest.raises(UserError, match="no test images"):
        module.setup("test")
    with pytest.raises(UserError, match=r"--data\.val_size"):
        ImageFolderDataModule(root).setup("fit")


def test_streamed_batches_are_those_from_memory(folders):
    root = folders({"train": {"red": 9, "blue": 9}, "val": TWO})
    in_memory, streamed = (
        batches(ImageFolderDataModule(root, batch_size=4, seed=0, memory_budget=budget), "train_dataloader")
        for budget in (4.0, 1e-6)
    )
    for whole, part in zip(in_memory, streamed, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(whole, part, strict=True))


def test_images_are_resized_to_image_size(folders):
    module = ImageFolderDataModule(folders({"train": TWO, "val": TWO}, size=50), image_size=16)
    assert module.image_size == 16
    assert batches(module, "val_dataloader")[0].image.shape == (12, 3, 16, 16)


def test_root_comes_from_the_environment(folders, monkeypatch):
    monkeypatch.setenv("LIT_VISION_DATA", str(folders({"train": TWO, "val": TWO})))
    assert ImageFolderDataModule().class_names == ["blue", "red"]
