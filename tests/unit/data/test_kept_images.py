import os
import time

import pytest
import torch
from PIL import Image

from lit_vision.data import disk_cache, image_ids, kept_images
from lit_vision.data.disk_cache import DiskCache
from lit_vision.data.images import ImageFiles, ResizedImages
from lit_vision.data.kept_images import Keeping, KeptImages
from lit_vision.errors import UserError


@pytest.fixture
def paths(tmp_path, monkeypatch):
    monkeypatch.setattr(image_ids.time, "time_ns", lambda: time.monotonic_ns() + 10**19)  # as if made long ago
    for number in range(6):
        Image.new("RGB", (10, 8), (40 * number, 7, 9)).save(tmp_path / f"{number}.png")
    return [tmp_path / f"{number}.png" for number in range(6)]


@pytest.fixture
def decoded(monkeypatch):
    """The names of the files that are decoded."""
    names = []
    read = ImageFiles.__getitem__

    def spy(self, index):
        names.append(os.path.basename(self.paths[index]))
        return read(self, index)

    monkeypatch.setattr(ImageFiles, "__getitem__", spy)
    return names


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Make kept images of files: kept(paths, worth=0) keeps even what is decoded at once."""

    def make(paths, worth=0.0, budget=1.0, folder="cache", few=None):
        monkeypatch.setattr(kept_images, "_WORTH_A_FILE", worth)
        cache = DiskCache(tmp_path / folder if folder else None)
        files = ImageFiles(paths, 4, "stretch", few=few)
        return KeptImages(files, "train", "here", Keeping(cache, budget, num_workers=0, processes=1))

    return make


def expected(paths):
    files = ImageFiles(paths, 4, "stretch")
    return torch.stack([files[number] for number in range(len(paths))])


def whole(images):
    return images.rows().index_select(0, torch.arange(len(images)))


@pytest.mark.parametrize("worth", [0, 1e9])
def test_images_are_decoded_once_in_a_run(paths, kept, decoded, worth):
    images = kept(paths, worth)
    images.check_readable()
    assert len(decoded) == 6
    assert torch.equal(whole(images), expected(paths))
    del decoded[:]
    assert torch.equal(images[3], expected(paths)[3])
    assert decoded == [f"{number}.png" for number in [*range(6)]]  # by expected alone


def test_the_next_run_decodes_nothing(paths, kept, decoded):
    kept(paths).check_readable()
    del decoded[:]
    images = kept(paths)
    images.check_readable()
    rows = whole(images)
    assert decoded == []
    assert torch.equal(rows, expected(paths))


def test_what_is_decoded_at_once_is_in_no_file_but_known_to_be_readable(paths, kept, decoded):
    first = kept(paths, worth=1e9)
    first.check_readable()
    del decoded[:]
    images = kept(paths, worth=1e9)
    images.check_readable()
    assert decoded == []
    assert torch.equal(images.checksums(), first.checksums())
    assert decoded == []
    assert torch.equal(images[2], expected(paths[2:3])[0])
    assert torch.equal(whole(images), expected(paths))


def test_checksums_are_the_same_by_every_way(paths, kept):
    in_memory = kept(paths, worth=1e9, folder=None).checksums()
    assert torch.equal(kept(paths, worth=0).checksums(), in_memory)
    assert torch.equal(kept(paths, worth=0).checksums(), in_memory)
    assert torch.equal(kept(paths, worth=1e9, folder="other").checksums(), in_memory)


@pytest.mark.parametrize("few", [True, False])
def test_only_changed_and_added_files_are_decoded_again(paths, kept, decoded, tmp_path, few):
    kept(paths[:5], few=few).check_readable()
    Image.new("RGB", (10, 8), (1, 2, 3)).save(paths[1])
    os.utime(paths[1], (1e9, 1e9))
    del decoded[:]
    images = kept(paths, few=few)
    rows = whole(images)
    assert sorted(set(decoded)) == ["1.png", "5.png"]
    assert torch.equal(rows, expected(paths))
    del decoded[:]
    assert torch.equal(whole(kept([*reversed(paths)], few=few)), rows.flip(0))
    assert torch.equal(whole(kept(paths[2:4], few=few)), rows[2:4])
    assert decoded == []


def test_a_small_change_of_a_set_without_a_file_is_decoded_in_memory(paths, kept):
    kept(paths[:4], worth=0).check_readable()
    images = kept(paths, worth=1e9)
    assert torch.equal(whole(images), expected(paths))


def test_another_size_is_another_file(paths, kept, tmp_path):
    kept(paths).check_readable()
    keeping = Keeping(DiskCache(tmp_path / "cache"), 1, 0, 1)
    larger = KeptImages(ImageFiles(paths, 5, "stretch"), "train", "here", keeping)
    assert whole(larger).shape == (6, 3, 5, 5)


def test_images_over_the_budget_go_to_a_file(paths, kept, caplog):
    images = kept(paths, worth=1e9, budget=0)
    images.check_readable()
    assert torch.equal(whole(images), expected(paths))
    assert "exceed" not in caplog.text


def test_without_a_cache_images_over_the_budget_are_decoded_one_by_one(paths, kept, caplog, decoded):
    images = kept(paths, budget=0, folder=None)
    images.check_readable()
    assert images.rows() is None
    assert images.checksums() is None
    assert "6 images exceed the memory budget of 0 GiB" in caplog.text
    assert torch.equal(images[2], expected(paths)[2])


def test_what_is_larger_than_the_memory_is_read_one_by_one(paths, kept, decoded, monkeypatch):
    kept(paths).check_readable()
    monkeypatch.setattr(disk_cache, "available_memory", lambda: 10)
    images = kept(paths)
    images.check_readable()
    del decoded[:]
    assert images.rows() is None
    found = torch.stack([images[number] for number in range(6)])
    assert decoded == []
    assert torch.equal(found, expected(paths))
    assert len(images.checksums()) == 6


def test_a_row_that_is_damaged_meanwhile_is_decoded_from_its_file(paths, kept, monkeypatch, tmp_path, caplog):
    kept(paths).check_readable()
    monkeypatch.setattr(disk_cache, "available_memory", lambda: 10)
    images = kept(paths)
    images.check_readable()
    (file,) = (tmp_path / "cache").glob("images-*/*.rows")
    content, row = bytearray(file.read_bytes()), expected(paths)[4]
    content[content.index(row.numpy().tobytes())] ^= 1
    file.write_bytes(content)
    assert torch.equal(images[4], row)
    assert "is damaged" in caplog.text


def test_a_damaged_file_is_made_again(paths, kept, tmp_path, decoded):
    kept(paths).check_readable()
    (file,) = (tmp_path / "cache").glob("images-*/*.rows")
    content = bytearray(file.read_bytes())
    content[content.index(expected(paths)[4].numpy().tobytes())] ^= 1
    file.write_bytes(content)
    del decoded[:]
    assert torch.equal(whole(kept(paths)), expected(paths))
    assert decoded[:6] == [f"{number}.png" for number in range(6)]


def test_images_that_change_while_they_are_read_are_named_and_not_kept(paths, kept, tmp_path, monkeypatch, caplog):
    for budget in (1.0, 0.0):
        images = kept(paths, budget=budget)
        images.ids()
        Image.new("RGB", (10, 8), (9, int(budget), 3)).save(paths[1])
        os.utime(paths[1], (1e9 + budget, 1e9 + budget))
        images.check_readable()
        assert f"{paths[1]} changed while this run read the images" in caplog.text
        caplog.clear()
        assert not list((tmp_path / "cache").rglob("*.rows"))
        assert torch.equal(images[1], expected(paths)[1])


@pytest.mark.parametrize("budget", [1.0, 0.0])
def test_unreadable_files_are_named(paths, kept, budget, tmp_path):
    for number in (2, 4):
        paths[number].write_bytes(b"no image")
    with pytest.raises(UserError, match=r"2\.png.*4\.png.*repair or delete these 2 files"):
        kept(paths, budget=budget).check_readable()
    assert not list((tmp_path / "cache").rglob("*.rows"))


def test_resized_images_of_memory_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_images, "_WORTH_A_FILE", 0)
    source = torch.randint(0, 255, (5, 3, 8, 8), dtype=torch.uint8)
    keeping = Keeping(DiskCache(tmp_path / "cache"), 1, 0, 1)
    found = [whole(KeptImages(ResizedImages(source, 12, "stretch"), "train", "", keeping)) for _ in range(2)]
    assert torch.equal(*found)
    assert len(list((tmp_path / "cache").glob("images-*/*.rows"))) == 1
