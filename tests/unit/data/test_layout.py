import re

import pytest

from lit_vision.data.layout import read_layout, split_of
from lit_vision.errors import UserError


@pytest.fixture
def make(tmp_path):
    """Make empty image files in a tree: make("train/cat", "test/cat:3") has one, and three, in a folder."""

    def make_tree(*folders):
        for word in folders:
            folder, _, count = word.partition(":")
            (tmp_path / "root" / folder).mkdir(parents=True, exist_ok=True)
            for number in range(int(count or 1)):
                (tmp_path / "root" / folder / f"{number}.png").touch()
        return tmp_path / "root"

    return make_tree


def read(root, *args):
    """The number of images of each class and split."""
    layout = read_layout(root, *args)
    return {
        split: {name: len(folder.all_images()) for name, folder in classes.items()}
        for split, classes in layout.splits.items()
    }


@pytest.mark.parametrize("name", ["train", "Train", "TRAINING", "training_set", "train-set", "Train Set", "trainset"])
def test_usual_names_of_train(name):
    assert split_of(name) == "train"


@pytest.mark.parametrize("name", ["val", "Valid", "VALIDATION", "validation_set", "valid set"])
def test_usual_names_of_val(name):
    assert split_of(name) == "val"


@pytest.mark.parametrize("name", ["cat", "trains", "train2", "latest", "tester", "valley", "invalid", "contest", ""])
def test_other_names(name):
    assert split_of(name) is None


TWO = {"cat": 1, "dog": 1}


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["Training/cat", "Training/dog", "Testing/cat", "Testing/dog"], {"train": TWO, "test": TWO}),
        (["train/cat", "train/dog", "valid/cat", "test/dog"], {"train": TWO, "val": {"cat": 1}, "test": {"dog": 1}}),
        (["Train/cat", "Train/dog", "Val/dog"], {"train": TWO, "val": {"dog": 1}}),
        (["train/cat", "train/dog", "validation/cat"], {"train": TWO, "val": {"cat": 1}}),
        (["training_set/cat", "training_set/dog", "test_set/cat"], {"train": TWO, "test": {"cat": 1}}),
        (["archive/train/cat", "archive/train/dog", "archive/test/dog"], {"train": TWO, "test": {"dog": 1}}),
        (["PetImages/cat", "PetImages/dog"], {"train": TWO}),
        (["train/train/cat", "train/train/dog", "test/test/cat"], {"train": TWO, "test": {"cat": 1}}),
        (["train/cat/2020", "train/cat/2021", "train/dog"], {"train": {"cat": 2, "dog": 1}}),
        (["train_images/cat", "train_images/dog"], {"train": TWO}),
        (["bus", "car", "train"], {"train": {"bus": 1, "car": 1, "train": 1}}),
        (["train/cat", "train/dog", "test"], {"train": TWO}),  # test images without classes
        (["train/cat", "train/dog", "val/cat", "sample"], {"train": TWO, "val": {"cat": 1}}),
        (["cat", "dog", "__MACOSX/cat", ".git/x", "lost+found:0"], {"train": TWO}),
        (["train/cat", "train/dog", "val/cat", "val/dog:0"], {"train": TWO, "val": {"cat": 1}}),
        (["test/cat"], {"test": {"cat": 1}}),
        (["cat"], {"train": {"cat": 1}}),
        (["猫", "犬 小"], {"train": {"犬 小": 1, "猫": 1}}),
    ],
)
def test_layouts(make, folders, expected):
    assert read(make(*folders)) == expected


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (["seg_train/seg_train/cat", "seg_train/seg_train/dog", "seg_test/seg_test/cat"], ["seg_train", "{train:"]),
        (["train_images/cat", "other/dog"], ["train_images", "--data.splits '{train: train_images}'"]),
        (["myTrain/cat", "myTest/cat"], ["myTrain", "myTest"]),
        (["train/cat", "train/dog", "bus", "car"], ["train", "bus and car"]),
        (["cat", "dog", "test/cat"], ["test", "cat and dog"]),
        (["cat", "dog", "test"], ["test", "'{train: .}'"]),
        (["train", "test"], ["test and train", "SPLIT/CLASS"]),
        (["train/cat", "Training/cat"], ["two folders for train", "Training and train"]),
        (["val/cat", "valid/cat", "train/cat"], ["two folders for val"]),
        (["cat/train", "cat/test", "dog/train", "dog/test"], ["cat/", "SPLIT/CLASS"]),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(make, folders, words):
    with pytest.raises(UserError) as caught:
        read(make(*folders))
    message = str(caught.value)
    assert "root has" in message
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("folders", "splits", "expected"),
    [
        (["a/cat", "a/dog", "b/cat", "c/cat"], {"train": "a", "test": "b"}, {"train": TWO, "test": {"cat": 1}}),
        (["seg_train/seg_train/cat"], {"train": "seg_train/seg_train"}, {"train": {"cat": 1}}),
        (["cat", "dog", "test/cat"], {"train": ".", "test": "test"}, {"train": TWO, "test": {"cat": 1}}),
        (["seg_train/seg_train/cat", "seg_test/cat"], {"train": "seg_train"}, {"train": {"cat": 1}}),
        (["cat", "dog"], {"test": "."}, {"test": TWO}),
        (["Training/a", "Testing/a"], {"train": "."}, {"train": {"Testing": 1, "Training": 1}}),
        (["a/cat", "b/cat"], {"val": "./b/", "train": "a"}, {"train": {"cat": 1}, "val": {"cat": 1}}),
    ],
)
def test_splits_can_be_named(make, folders, splits, expected):
    assert read(make(*folders), splits) == expected


@pytest.mark.parametrize("name", ["nosuch", "../root", "/tmp", "cat/0.png"])
def test_splits_are_folders_below_root(make, name):
    with pytest.raises(UserError, match=f"no folder {re.escape(name)}.*--data.splits"):
        read(make("cat"), {"train": name})


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["train", "bus"], {"train": {"bus": 1, "train": 1}}),
        (["train"], {"train": {"train": 1}}),
        (["bus/2020", "bus/2021"], {"train": {"bus": 2}}),
        (["test/train", "test/bus"], {"test": {"bus": 1, "train": 1}}),
    ],
)
def test_known_classes_are_classes(make, folders, expected):
    assert read(make(*folders), None, ["train", "bus"]) == expected


def test_what_is_left_out_is_accounted_for(make):
    root = make("train/cat", "train/dog", "val/cat", "val/empty:0", "sample/x", "train")
    (root / "train" / "cat" / "notes.txt").touch()
    (root / "train" / "cat" / "again.png").symlink_to("0.png")
    (root / "train" / "dog" / "gone.png").symlink_to("nothing")
    left_out = {(left.path.removeprefix(f"{root}/"), left.reason) for left in read_layout(root).left_out}
    assert left_out == {
        ("train/cat/notes.txt", ".txt files, which Pillow does not read"),
        ("train/cat/again.png", "links to images that are there anyway"),
        ("train/dog/gone.png", "links without a target"),
        ("train/0.png", "images outside of the class folders"),
        ("sample/x/0.png", "images outside of the class folders"),
        ("val/empty", "folders without images"),
    }


def test_a_split_may_be_a_link(make, tmp_path):
    root = make("train/cat", "train/dog")
    (tmp_path / "far" / "cat").mkdir(parents=True)
    (tmp_path / "far" / "cat" / "x.png").touch()
    (root / "test").symlink_to(tmp_path / "far")
    assert read(root) == {"train": TWO, "test": {"cat": 1}}


def test_two_folders_that_read_the_same_are_refused(make):
    root = make("cat", "caf\\xe9")
    (root / "caf\udce9").mkdir()
    (root / "caf\udce9" / "0.png").touch()
    with pytest.raises(UserError, match=r"two folders that read caf\\xe9"):
        read(root)
