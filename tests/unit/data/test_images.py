import itertools
import threading
import time
from contextlib import closing

import pytest
import torch
from PIL import Image

from lit_vision.data.decode_ahead import check_all, decode_ahead, decode_all
from lit_vision.data.images import ImageFiles, ResizedImages
from lit_vision.errors import UserError

SLOW, QUICK = 0.0, 60.0  # values of WORTH_A_THREAD with which every call counts as slow, or as quick


@pytest.fixture(params=["slow", "slow overlapped", "quick", "quick overlapped"])
def decode(request, monkeypatch):
    """decode_ahead with calls that count as slow or quick."""
    monkeypatch.setattr("lit_vision.data.decode_ahead.WORTH_A_THREAD", SLOW if "slow" in request.param else QUICK)
    overlap = "overlapped" in request.param
    return lambda function, items, ahead: decode_ahead(function, items, workers=3, ahead=ahead, overlap=overlap)


@pytest.mark.parametrize("count", [0, 1, 5, 9, 10, 40])
def test_decode_ahead_keeps_the_order(decode, count):
    def later_is_quicker(item):
        time.sleep(0.001 * (item % 3 == 0))
        return -item

    assert list(decode(later_is_quicker, range(count), 7)) == [-item for item in range(count)]


def test_decode_ahead_takes_no_more_items_than_it_may(decode):
    taken = itertools.count()
    items = (next(taken) for _ in range(1000))
    with closing(decode(abs, items, 7)) as results:
        for done, _ in zip(range(1, 51), results, strict=False):
            assert next(taken) - 2 * done + 1 <= 7  # each look at the counter advances it


def test_an_error_ends_decode_ahead_after_the_results_before_it(decode):
    calls = []

    def fail_at_20(item):
        calls.append(item)
        if item == 20:
            raise UserError("20 is broken")
        return item

    def collect():
        for result in decode(fail_at_20, range(1000), 7):
            results.append(result)

    results = []
    with pytest.raises(UserError, match="20 is broken"):
        collect()
    assert results == list(range(20))
    assert len(calls) <= 20 + 1 + 7


def test_closing_decode_ahead_ends_its_threads(decode):
    before = threading.active_count()
    calls = []
    with closing(decode(calls.append, range(1000), 7)) as results:
        for _ in range(30):
            next(results)
    assert threading.active_count() == before
    assert 30 <= len(calls) <= 30 + 7


@pytest.mark.parametrize(
    ("worth_a_thread", "workers", "overlap", "threads"),
    [(SLOW, 3, False, 3), (SLOW, 1, False, 0), (QUICK, 3, False, 0), (QUICK, 3, True, 1), (SLOW, 1, True, 1)],
)
def test_decode_ahead_uses_threads_where_they_pay(monkeypatch, worth_a_thread, workers, overlap, threads):
    monkeypatch.setattr("lit_vision.data.decode_ahead.WORTH_A_THREAD", worth_a_thread)
    seen = set()

    def decode(item):
        time.sleep(0.001)
        seen.add(threading.get_ident())

    list(decode_ahead(decode, range(100), workers, ahead=20, overlap=overlap))
    assert len(seen - {threading.get_ident()}) == threads


def test_decode_all_keeps_the_order_with_and_without_threads(tmp_path, monkeypatch):
    paths = []
    for shade in range(30):
        paths.append(tmp_path / f"{shade}.png")
        Image.new("RGB", (4, 4), (shade, 0, 0)).save(paths[-1])
    for worth_a_thread in (0.0, 60.0):
        monkeypatch.setattr("lit_vision.data.decode_ahead.WORTH_A_THREAD", worth_a_thread)
        decoded = decode_all(ImageFiles(paths, 4, resize=None), num_workers=3)
        assert decoded[:, 0, 0, 0].tolist() == list(range(30))


def test_decode_all_ends_at_the_first_unreadable_file(tmp_path, monkeypatch):
    monkeypatch.setattr("lit_vision.data.decode_ahead.WORTH_A_THREAD", SLOW)
    paths = [tmp_path / f"{number}.png" for number in range(200)]
    Image.new("RGB", (4, 4)).save(paths[0])
    with pytest.raises(UserError, match=r"/1\.png"):
        decode_all(ImageFiles(paths, 4, resize=None), num_workers=2)


def test_images_of_other_sizes_need_a_size(tmp_path):
    Image.new("RGB", (5, 4)).save(tmp_path / "x.png")
    with pytest.raises(UserError, match="5x4"):
        ImageFiles([tmp_path / "x.png"], 4, resize=None)[0]
    assert ImageFiles([tmp_path / "x.png"], 4, resize="stretch")[0].shape == (3, 4, 4)


def test_resized_images_and_their_subset():
    images = torch.arange(3, dtype=torch.uint8)[:, None, None, None].expand(3, 3, 8, 8)
    part = ResizedImages(images, 4, "stretch").subset(torch.tensor([2, 0]))
    assert len(part) == 2
    assert part[0].shape == (3, 4, 4)
    assert part[0].unique().tolist() == [2]


@pytest.mark.parametrize("work", [decode_all, check_all])
@pytest.mark.parametrize("workers", [0, 3])
def test_all_unreadable_files_are_told_at_once(tmp_path, work, workers):
    paths = [tmp_path / f"{number}.png" for number in range(30)]
    for number, path in enumerate(paths):
        Image.new("RGB", (4, 4)).save(path)
        if number % 5 == 4:
            path.write_bytes(b"" if number % 2 else b"text")
    with pytest.raises(UserError) as caught:
        work(ImageFiles(paths, 4, resize="stretch"), workers)
    message = str(caught.value)
    assert [name in message for name in ("4.png", "9.png", "14.png", "19.png")] == [True, True, True, False]
    assert "and 3 more" in message
    assert "these 6 files" in message
    assert "\n" not in message


def test_a_wrong_size_ends_the_check(tmp_path):
    Image.new("RGB", (5, 4)).save(tmp_path / "x.jpg")
    with pytest.raises(UserError, match="5x4"):
        check_all(ImageFiles([tmp_path / "x.jpg"], 4, resize=None), 1)
    check_all(ImageFiles([tmp_path / "x.jpg"], 4, resize="stretch"), 1)


@pytest.mark.parametrize("overlap", [True, False])
def test_without_workers_all_is_done_in_the_calling_thread(overlap):
    def work(item):
        time.sleep(0.004)  # slow enough for threads
        return threading.get_ident()

    assert set(decode_ahead(work, range(20), 0, 4, overlap)) == {threading.get_ident()}
