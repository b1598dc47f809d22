"""What is held out stays held out, whatever comes or goes, on random sets."""

import itertools
import math
import shutil

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import assume, given, settings

from lit_vision.data import ImageFolderDataModule
from lit_vision.data.batch import LabelledImages
from lit_vision.data.hold_out import HoldOut, proportional

counts = st.lists(st.integers(0, 30), min_size=2, max_size=6).filter(lambda sizes: sum(sizes) > 1)
sizes = st.integers(1, 60) | st.floats(0.01, 0.99)


def divide(hold_out, ids, labels, names):
    images = LabelledImages(torch.zeros(len(ids), 1), torch.tensor(labels), torch.tensor(ids))
    return {split: set(part.ids.tolist()) for split, part in hold_out.divide(images, names).items()}


@settings(max_examples=200)
@given(available=counts, size=sizes)
def test_the_numbers_are_in_proportion(available, size):
    total = sum(available)
    wanted = max(1, round(size * total)) if size < 1 else size
    assume(wanted < total)
    chosen = proportional(wanted, available)
    assert sum(chosen) == wanted
    assert all(0 <= part <= count for part, count in zip(chosen, available, strict=True))
    large = [k for k, count in enumerate(available) if count > 1]
    possible = len(large) <= wanted <= sum(available[k] - 1 for k in large)
    for k, count in enumerate(available):
        share = wanted * count / total
        if k in large and possible:
            assert 1 <= chosen[k] <= count - 1  # on both sides
        if possible and all(1 <= wanted * available[j] / total <= available[j] - 1 for j in large) and k in large:
            assert chosen[k] >= math.floor(share)
    in_order = sorted(large, key=lambda k: available[k])
    assert all(chosen[a] <= chosen[b] for a, b in itertools.pairwise(in_order) if available[a] < available[b])


@settings(max_examples=200)
@given(available=counts, size=sizes, seed=st.integers(0, 2**31), data=st.data())
def test_no_image_changes_sides(available, size, seed, data):
    labels = [label for label, count in enumerate(available) for _ in range(count)]
    names = [f"class {label}" for label in range(len(available))]
    ids = data.draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=len(labels), max_size=len(labels), unique=True))
    wanted = max(1, round(size * len(labels))) if size < 1 else size
    assume(wanted < len(labels))
    first = HoldOut(size, seed)
    before = divide(first, ids, labels, names)
    assert len(before["val"]) == wanted
    assert not before["val"] & before["train"]
    keep = data.draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids)))
    new = data.draw(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20, unique=True))
    rows = [(image, label) for image, label, kept in zip(ids, labels, keep, strict=True) if kept]
    rows += [(image, data.draw(st.integers(0, len(names) - 1))) for image in new if image not in ids]
    assume(rows)
    again = HoldOut(size, seed)
    again.load_state_dict(first.state_dict())
    again.check(training=True)
    later_ids, later_labels = (torch.tensor(column) for column in zip(*rows, strict=True))
    held_out = again.holds_out(LabelledImages(torch.zeros(len(rows), 1), later_labels, later_ids), names)
    for image, is_held_out in zip(later_ids.tolist(), held_out.tolist(), strict=True):
        if image in ids:
            assert image in before["val" if is_held_out else "train"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("sets") / "root"


files = st.dictionaries(
    st.sampled_from(["cat", "dog", "猫"]),
    st.sets(st.sampled_from([f"{name}.png" for name in ("a", "b", "ü", "sub/c", "0", "1", "2", "3")]), min_size=2),
    min_size=2,
)


@settings(max_examples=40)
@given(before=files, after=files, val_size=st.sampled_from([0.2, 0.5, 2]), seeds=st.tuples(*[st.integers(0, 5)] * 2))
def test_no_file_of_a_folder_changes_sides(place, before, after, val_size, seeds):
    def sides(tree, state, seed):
        shutil.rmtree(place, ignore_errors=True)
        for name, paths in tree.items():
            for path in paths:
                (place / name / path).parent.mkdir(parents=True, exist_ok=True)
                (place / name / path).touch()
        data = ImageFolderDataModule(place, val_size=val_size, seed=seed, image_size=4)
        if state:
            data.load_state_dict(state)
        parts = data.hold_out.divide(data.load("train"), data.class_names)
        return {path: side for side, part in parts.items() for path in part.images.paths}, data.state_dict()

    assume(sum(map(len, before.values())) > 2)
    first, state = sides(before, None, seeds[0])
    both = {name: before[name] | after.get(name, set()) for name in before}
    second, _ = sides(both, state, seeds[1])
    assert {path: second[path] for path in first} == first
