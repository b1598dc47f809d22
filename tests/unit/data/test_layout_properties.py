"""The reader of layouts against a slow, plain one, on random trees of folders."""

import shutil

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from lit_vision.data.layout import read_layout
from lit_vision.errors import UserError

USUAL = {
    "train": "train",
    "Training": "train",
    "val": "val",
    "VALID": "val",
    "validation": "val",
    "test": "test",
    "Test_Set": "test",
}
SIMILAR = {"seg_train": "train", "testImages": "test"}  # names with the name of a split as one of their words
JUNK = ["__MACOSX", ".git", "lost+found"]
NAMES = [*USUAL, *SIMILAR, *JUNK, "cat", "dog", "猫", "two words"]

# A tree is (number of images, {name: tree}).
trees = st.recursive(
    st.tuples(st.integers(0, 2), st.just({})),
    lambda inner: st.tuples(st.integers(0, 1), st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)),
    max_leaves=12,
)
known = st.sampled_from([(), (), ("cat", "dog"), ("train", "cat")])


class AmbiguousError(Exception):
    pass


def count(tree):
    images, folders = tree
    return images + sum(count(inner) for name, inner in folders.items() if name not in JUNK)


def used(tree):
    """The folders of a tree that have images."""
    return {name: inner for name, inner in tree[1].items() if name not in JUNK and count(inner)}


def plain(tree, classes):
    """Images of each class and split, by the rules that read_layout states, one after the other."""
    if len(used(tree)) == 1:
        ((name, inner),) = used(tree).items()
        if not inner[0] and name not in USUAL and name not in classes:
            tree = inner
    folders = used(tree)
    with_usual_names = {name: inner for name, inner in folders.items() if name in USUAL}
    splits = [name for name, inner in with_usual_names.items() if used(inner)]
    bare = [name for name, inner in with_usual_names.items() if not used(inner) and name not in classes]
    others = [name for name in folders if name not in splits and name not in bare]
    if len({USUAL[name] for name in splits}) < len(splits):
        raise AmbiguousError
    if splits:
        names = {USUAL[name]: name for name in splits}
        if others and not ("train" in names and len(names) > 1):
            raise AmbiguousError
        found = {}
        for split in ("train", "val", "test"):
            if split not in names:
                continue
            part = folders[names[split]]
            if len(used(part)) == 1:
                ((name, inner),) = used(part).items()
                same = USUAL.get(name) == split or name.lower() == names[split].lower()
                if same and not inner[0] and name not in classes:
                    part = inner
            found[split] = {name: count(inner) for name, inner in used(part).items()}
        return found
    if any(name in SIMILAR and used(folders[name]) for name in others):
        raise AmbiguousError
    if bare and (not others or [USUAL[name] for name in bare] != ["train"]):
        raise AmbiguousError
    for name in others:
        if len({USUAL[inner] for inner in used(folders[name]) if inner in USUAL}) > 1:
            raise AmbiguousError
    return {"train": {name: count(inner) for name, inner in folders.items()}}


def make(tree, path):
    path.mkdir(parents=True)
    for number in range(tree[0]):
        (path / f"{number}.png").touch()
    for name, inner in tree[1].items():
        make(inner, path / name)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("trees") / "root"


@settings(max_examples=400)
@given(tree=trees, classes=known)
def test_random_trees_are_read_as_the_plain_reader_reads_them(place, tree, classes):
    shutil.rmtree(place, ignore_errors=True)
    make(tree, place)
    try:
        expected = plain(tree, classes)
    except AmbiguousError:
        with pytest.raises(UserError) as caught:
            read_layout(place, None, classes)
        assert str(place) in str(caught.value)
        assert "\n" not in str(caught.value)
        return
    layout = read_layout(place, None, classes)
    found = {
        split: {name: len(folder.all_images()) for name, folder in folders.items()}
        for split, folders in layout.splits.items()
    }
    assert found == expected
    # every image is used, or accounted for, once
    paths = [image.path for folders in layout.splits.values() for f in folders.values() for image in f.all_images()]
    paths += [left.path for left in layout.left_out if left.path.endswith(".png")]
    assert len(paths) == len(set(paths)) == count(tree)


@settings(max_examples=50)
@given(tree=trees, classes=known)
def test_junk_changes_nothing(place, tree, classes):
    def read():
        try:
            return {
                split: {name: len(folder.all_images()) for name, folder in folders.items()}
                for split, folders in read_layout(place, None, classes).splits.items()
            }
        except UserError as error:
            return str(error)

    shutil.rmtree(place, ignore_errors=True)
    make(tree, place)
    before = read()
    for folder in [place, *(path for path in place.rglob("*") if path.is_dir())]:
        (folder / "Thumbs.db").touch()
        (folder / ".DS_Store").touch()
        (folder / "labels.txt").touch()
        (folder / "gone.png").symlink_to("nothing")
        (folder / "round").symlink_to(place)
    assert read() == before
