import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lit_vision.data import disk_cache
from lit_vision.data.disk_cache import DiskCache, Kind, cache_folder

KIND = Kind("features", {"weights": "a"})
IDS = [bytes([number]) * 16 for number in range(6)]
ROWS = torch.rand(6, 4)


@pytest.fixture
def cache(tmp_path):
    return DiskCache(tmp_path / "cache")


def add(cache, start=0, stop=6, kind=KIND):
    return cache.add(kind, IDS[start:stop], ROWS[start:stop], ROWS[0], "pictures")


def files(cache):
    return sorted(path for path in cache.folder.rglob("*") if path.is_file() and path.name != ".lock")


def test_rows_are_found_by_their_ids_in_any_order_and_any_file(cache):
    assert cache.find(KIND, IDS)[1] == list(range(6))
    assert add(cache, 0, 2)
    assert add(cache, 3, 6)
    rows, missing = cache.find(KIND, [IDS[4], IDS[2], IDS[0], IDS[4]])
    assert missing == [1]
    assert torch.equal(rows.whole(), ROWS[[4, 0, 4]])
    assert torch.equal(rows.index_select(0, torch.tensor([1, 1])), ROWS[[0, 0]])
    assert torch.equal(rows.read(2), ROWS[4])
    assert cache.find(Kind("features", {"weights": "b"}), IDS)[1] == list(range(6))


def test_another_object_and_another_process_find_them(cache):
    add(cache)
    code = (
        "import sys; from pathlib import Path; from lit_vision.data.disk_cache import DiskCache, Kind;"
        f"rows, missing = DiskCache(Path(sys.argv[1])).find(Kind('features', {{'weights': 'a'}}), {IDS!r});"
        "print(missing, float(rows.whole().sum()))"
    )
    found = subprocess.run([sys.executable, "-c", code, cache.folder], capture_output=True, text=True, check=True)
    assert found.stdout.split()[0] == "[]"
    assert float(found.stdout.split()[1]) == pytest.approx(float(ROWS.sum()), abs=1e-5)


def test_a_damaged_file_is_removed_and_named_and_the_others_stay(cache, caplog):
    add(cache, 0, 3)
    (first,) = files(cache)
    add(cache, 3, 6)
    content = bytearray(first.read_bytes())
    content[content.index(ROWS[1].numpy().tobytes()) + 2] ^= 4
    first.write_bytes(content)
    rows, missing = cache.find(KIND, IDS)
    assert missing == [0, 1, 2]
    assert torch.equal(rows.whole(), ROWS[3:])
    assert f"{first} is damaged" in caplog.text
    assert not first.exists()
    assert add(cache, 0, 3)
    assert cache.find(KIND, IDS)[1] == []


def test_nothing_is_kept_where_the_folder_cannot_be_written_and_a_line_says_so(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    cache = DiskCache(tmp_path / "file")
    assert not add(cache)
    assert caplog.text.count("nothing is kept in") == 1
    assert not add(cache)
    with cache.alone(KIND):
        assert cache.find(KIND, IDS)[1] == list(range(6))
    assert caplog.text.count("nothing is kept in") == 1


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_failed_write_leaves_no_file(cache, caplog, tmp_path, error):
    def rows():
        yield ROWS[0]
        raise OSError(error, os.strerror(error))

    assert not cache.add(KIND, IDS, rows(), ROWS[0], "pictures")
    assert os.strerror(error) in caplog.text
    assert cache.folder is None
    assert not list(tmp_path.rglob("*.rows"))


def test_what_a_killed_process_left_is_removed(cache):
    add(cache, 0, 3)
    partial = files(cache)[0].with_name(".x.rows")
    partial.write_bytes(b"half")
    assert cache.find(KIND, IDS)[1] == [3, 4, 5]
    add(cache, 3, 6)
    assert not partial.exists()


def test_what_was_not_used_for_longest_goes_first(cache, monkeypatch):
    add(cache, 0, 2)
    add(cache, 2, 4)
    old, new = files(cache)
    os.utime(old, (1, 1))
    os.utime(new, (2, 2))
    cache.find(KIND, [IDS[0]])
    used = next(path for path in (old, new) if path.stat().st_mtime > 2)
    monkeypatch.setattr(cache, "limit", lambda: 2 * used.stat().st_size + 10)
    add(cache, 4, 6)
    assert used in files(cache)
    assert len(files(cache)) == 2
    assert cache.find(KIND, IDS[4:])[1] == []


def test_what_is_larger_than_the_limit_is_not_kept(cache, monkeypatch, caplog):
    monkeypatch.setattr(cache, "limit", lambda: 10)
    assert not add(cache)
    assert "would take" in caplog.text
    assert files(cache) == []


def test_the_limit_is_half_of_what_is_free_and_taken(cache, monkeypatch):
    add(cache)
    (path,) = files(cache)
    usage = disk_cache.shutil.disk_usage(cache.folder)._replace(free=1000)
    monkeypatch.setattr(disk_cache.shutil, "disk_usage", lambda folder: usage)
    assert cache.limit() == (1000 + path.stat().st_size) // 2


def test_clear_removes_all(cache):
    add(cache)
    size = files(cache)[0].stat().st_size
    assert cache.clear() == size
    assert cache.entries() == []


def test_one_process_at_a_time_makes_rows(cache, caplog):
    code = (
        "import sys, time; from pathlib import Path; from lit_vision.data.disk_cache import DiskCache, Kind\n"
        "with DiskCache(Path(sys.argv[1])).alone(Kind('features', {'weights': 'a'})):\n"
        "    print('in', flush=True); time.sleep(1.5)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", code, cache.folder], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "in\n"
    with cache.alone(KIND):
        assert other.poll() is not None or other.wait(5) == 0
    assert "waiting for another process" in caplog.text


def test_the_folder_is_that_of_the_option_the_variable_or_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("LIT_VISION_CACHE", str(tmp_path))
    assert cache_folder(None) == tmp_path
    assert cache_folder("~/x") == Path.home() / "x"
    assert cache_folder("none") is None
    monkeypatch.setenv("LIT_VISION_CACHE", "none")
    assert cache_folder(None) is None
    monkeypatch.delenv("LIT_VISION_CACHE")
    assert cache_folder(None).name == "lit-vision"


def test_a_damaged_file_that_cannot_be_removed_is_passed_over(cache, monkeypatch):
    add(cache, 0, 3)
    add(cache, 3, 6)
    (first, _) = files(cache)
    content = bytearray(first.read_bytes())
    content[200] ^= 4
    first.write_bytes(content)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EROFS, "read-only")))
    rows, missing = cache.find(KIND, IDS)
    assert len(missing) == 3
    assert rows.checked


@pytest.mark.parametrize("available", [None, 10, 10**9])
def test_rows_are_checked_unless_they_are_too_many_for_the_memory(cache, monkeypatch, available):
    add(cache)
    monkeypatch.setattr(disk_cache, "available_memory", lambda: available)
    assert cache.find(KIND, IDS, check=False)[0].checked == (available != 10)
    assert cache.find(KIND, IDS)[0].checked
