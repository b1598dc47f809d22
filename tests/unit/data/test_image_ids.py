import os
import time

import pytest
import torch

from lit_vision.data import image_ids
from lit_vision.data.image_ids import are_few, file_ids, stamp, status_of, tensor_ids
from lit_vision.errors import UserError


@pytest.fixture
def paths(tmp_path):
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode() * 10)
        os.utime(tmp_path / name, (1e9, 1e9))
    return [tmp_path / name for name in "abc"]


def ids(paths, by_content=False):
    return file_ids(paths, [status_of(path) for path in paths], by_content)


def settled(monkeypatch):
    """Let the files be older than those that may change again unnoticed."""
    monkeypatch.setattr(image_ids.time, "time_ns", lambda: time.monotonic_ns() + 10**19)


@pytest.mark.parametrize("by_content", [True, False])
def test_an_image_keeps_its_id_until_it_changes(paths, monkeypatch, by_content):
    settled(monkeypatch)
    before = ids(paths, by_content)
    assert len(set(before)) == 3
    assert {len(image) for image in before} == {16}
    assert ids(paths, by_content) == before
    assert ids([str(path) for path in paths], by_content) == before
    paths[1].write_bytes(b"x" * 10)
    os.utime(paths[1], (1e9, 1e9))  # the same size, and the time set back
    after = ids(paths, by_content)
    assert [new == old for new, old in zip(after, before, strict=True)] == [True, False, True]


def test_by_content_a_copy_has_the_same_id(paths, tmp_path):
    (tmp_path / "copy").write_bytes(paths[0].read_bytes())
    assert ids([tmp_path / "copy"], True) == ids(paths[:1], True)


def test_a_file_that_has_just_changed_is_named_by_its_content(paths, monkeypatch):
    assert ids(paths) == ids(paths, True)
    settled(monkeypatch)
    assert ids(paths) != ids(paths, True)


def test_few_files_are_few_in_number_and_in_bytes(paths, monkeypatch):
    assert are_few(paths)
    monkeypatch.setattr(image_ids, "_FEW_BYTES", 29)
    assert not are_few(paths)
    monkeypatch.setattr(image_ids, "_FEW_BYTES", 30)
    assert are_few(paths)
    monkeypatch.setattr(image_ids, "_FEW_FILES", 2)
    assert not are_few(paths)


def test_a_missing_file_is_named(tmp_path):
    assert stamp(tmp_path / "x") is None
    with pytest.raises(UserError, match=r"cannot read .*x \(No such file"):
        status_of(tmp_path / "x")


def test_images_in_memory_are_named_by_their_pixels():
    images = torch.zeros(3, 3, 4, 4, dtype=torch.uint8)
    images[1, 0, 0, 0] = 1
    first, second, third = tensor_ids(images)
    assert first == third != second
    assert tensor_ids(images[:1].permute(0, 1, 3, 2)) == [first]
    assert tensor_ids(images[:1].reshape(1, 3, 2, 8)) != [first]
