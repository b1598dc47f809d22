import random

import pytest
import torch

from lit_vision.data.row_file import DamagedError, RowFile, write_rows

IDS = [bytes([number]) * 16 for number in range(5)]
ROWS = torch.arange(5 * 12, dtype=torch.uint8).view(5, 3, 2, 2)


@pytest.fixture
def path(tmp_path):
    write_rows(tmp_path / "x.rows", IDS, ROWS, ROWS.shape[1:], {"kind": "images"})
    return tmp_path / "x.rows"


def test_rows_come_back_as_they_were(path):
    file = RowFile(path)
    assert torch.equal(file.rows, ROWS)
    assert file.ids == IDS
    assert file.about["kind"] == "images"
    assert all(file.is_sound(row) for row in range(5))
    assert torch.equal(file.read(3), ROWS[3])


def test_numbers_come_back_too(tmp_path):
    rows = torch.rand(4, 7)
    write_rows(tmp_path / "x", IDS[:4], rows, (7,), {})
    assert torch.equal(RowFile(tmp_path / "x").rows, rows)
    write_rows(tmp_path / "y", IDS[:4], rows[:, 0], (), {})
    assert torch.equal(RowFile(tmp_path / "y").rows, rows[:, 0])


def test_rows_may_be_made_one_after_the_other(path, tmp_path):
    write_rows(tmp_path / "y", IDS, iter(ROWS), ROWS.shape[1:], {"kind": "images"})
    assert (tmp_path / "y").read_bytes() == path.read_bytes()


def changed(path, content):
    """The rows of a file with another content that are taken for sound; None if the file is refused."""
    path.write_bytes(content)
    try:
        file = RowFile(path)
    except DamagedError:
        return None
    return {image: file.rows[row].clone() for row, image in enumerate(file.ids) if file.is_sound(row)}


def test_no_changed_byte_is_taken_for_what_was_written(path):
    content = path.read_bytes()
    right = dict(zip(IDS, ROWS, strict=True))
    for place in range(len(content)):
        for bit in random.Random(place).sample(range(8), 2):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            for image, row in (changed(path, bytes(damaged)) or {}).items():
                assert torch.equal(row, right[image]), (place, bit)


def test_no_file_that_was_cut_short_is_read(path):
    content = path.read_bytes()
    assert all(changed(path, content[:length]) is None for length in range(len(content)))


def test_a_row_that_changes_later_is_noticed_when_it_is_read(path):
    file, content = RowFile(path), bytearray(path.read_bytes())
    content[content.index(ROWS[3].numpy().tobytes())] ^= 1
    path.write_bytes(content)
    assert not file.is_sound(3)
    with pytest.raises(DamagedError):
        file.read(3)
    assert torch.equal(file.read(2), ROWS[2])
