import os
from pathlib import Path

import pytest
from PIL import Image

from lit_vision.data import ImageFolderDataModule
from lit_vision.errors import UserError

TWO = {"red": 4, "blue": 4}


def test_an_image_in_two_splits_is_refused(folders):
    root = folders({"train": TWO, "val": TWO})
    (root / "val" / "red" / "0.png").unlink()
    (root / "val" / "red" / "0.png").symlink_to(root / "train" / "red" / "1.png")
    with pytest.raises(UserError, match=r"two splits, train and val: remove .*train/red/1.png or .*val/red/0.png"):
        ImageFolderDataModule(root).setup("fit")


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_an_image_in_two_classes_is_refused(folders, link):
    root = folders({".": TWO})
    link(root / "red" / "1.png", root / "blue" / "x.png")
    with pytest.raises(UserError, match=r"two classes, blue and red: remove .*blue/x.png or .*red/1.png"):
        ImageFolderDataModule(root).setup("fit")


def test_all_images_are_used_or_named(folders, caplog):
    root = folders({"train": TWO, "val": TWO})
    for number in range(4):
        (root / "train" / "red" / f"{number}.png").rename(root / "train" / "red" / f"{number}.jfif")
    Image.new("RGB", (32, 32)).save(root / "train" / "red" / "x.pnm", "PPM")
    (root / "val" / "red" / "gone.png").symlink_to("nothing")
    (root / "val" / "red" / "notes.txt").touch()
    ImageFolderDataModule(root).setup("fit")
    assert "train: 9 images of 2 classes (blue, red)\nval: 8 images of 2 classes (blue, red)\n" in caplog.text
    assert "links without a target: 1 (val/red/gone.png)" in caplog.text
    assert ".txt files, which Pillow does not read: 1 (val/red/notes.txt)" in caplog.text


def test_a_class_folder_without_files_is_no_class_of_val(folders):
    data = ImageFolderDataModule(folders({"train": TWO, "val": {"red": 4, "blue": 0, "green": 0}}))
    data.setup("fit")
    assert data.class_names == ["blue", "red"]
    assert "folders without images: 2 (val/blue, val/green)" in data.left_out()


def test_a_name_that_is_not_utf8_is_a_class(folders):
    root = folders({".": TWO})
    os.rename(root / "red", os.fsencode(root) + b"/caf\xe9")
    os.rename(root / "caf\udce9" / "0.png", os.fsencode(root) + b"/caf\xe9/\xff\n.png")
    data = ImageFolderDataModule(root, val_size=2)
    assert data.class_names == ["blue", "caf\\xe9"]
    data.setup("fit")
    assert sum(len(batch.label) for batch in data.train_dataloader()) == 6


def test_the_names_of_classes_can_be_given(folders):
    root = folders({"test": {"red": 2}})
    data = ImageFolderDataModule(root, classes=["red", "other"], image_size=8)
    data.setup("test")
    assert next(iter(data.test_dataloader())).label.tolist() == [0, 0]
    with pytest.raises(UserError, match="a label other than blue, 'red'"):
        ImageFolderDataModule(root, classes=["blue"]).setup("test")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["a", "a"]}, "a name twice"),
        ({"splits": {"training": "x"}}, "'training'.*train, val and test"),
        ({"resize": "center_crop"}, "--data.image_size"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(UserError, match=message):
        ImageFolderDataModule(**options)


def test_the_same_name_composed_and_decomposed_is_held_out_alike(folders):
    ids = []
    for name in ("cafe\u0301", "caf\u00e9"):
        root = folders({".": {name: 3, "red": 3}}, name=f"root {len(name)}")
        ids.append(ImageFolderDataModule(root).load("train").ids.sort().values.tolist())
    assert ids[0] == ids[1]


@pytest.mark.parametrize("budget", [4.0, 0.0])
def test_unreadable_files_are_told_before_the_first_epoch(folders, budget):
    root = folders({"train": TWO, "val": TWO})
    for number in range(3):
        (root / "train" / "red" / f"{number}.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"red/0\.png .*red/1\.png .*red/2\.png .*these 3 files"):
        ImageFolderDataModule(root, memory_budget=budget).setup("fit")


def test_paths_are_in_the_order_of_the_images(folders):
    data = ImageFolderDataModule(folders({"train": TWO}))
    assert [path.parent.name for path in data.paths("train")] == ["blue"] * 4 + ["red"] * 4
    assert all(isinstance(path, Path) for path in data.paths("train"))
