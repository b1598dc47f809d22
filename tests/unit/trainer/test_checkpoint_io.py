import os

import pytest
import torch
from helpers import RUN

from lit_vision.errors import UserError
from lit_vision.trainer.checkpoint_io import AtomicCheckpointIO

FOLDER = RUN / "checkpoints"
LAST, PREVIOUS = FOLDER / "last.ckpt", FOLDER / "previous.ckpt"


def value(path):
    return torch.load(path, weights_only=True)["a"]


def test_half_files_of_killed_processes_are_removed():
    FOLDER.mkdir(parents=True)
    for name in (".last.123.ckpt", ".previous.5.ckpt", ".best.9.ckpt", ".other.1.ckpt"):
        (FOLDER / name).write_text("half")
    AtomicCheckpointIO().save_checkpoint({"a": 1}, LAST)
    AtomicCheckpointIO().save_checkpoint({"a": 2}, LAST)
    assert {path.name for path in FOLDER.iterdir()} == {".best.9.ckpt", ".other.1.ckpt", "last.ckpt", "previous.ckpt"}


def test_the_last_checkpoint_has_a_predecessor():
    writer = AtomicCheckpointIO()
    for number in range(3):
        writer.save_checkpoint({"a": number}, LAST)
        writer.save_checkpoint({"a": number}, FOLDER / "best.ckpt")
    assert (value(LAST), value(PREVIOUS)) == (2, 1)
    assert len(os.listdir(FOLDER)) == 3


def test_a_damaged_checkpoint_does_not_take_the_place_of_the_one_before():
    for number in range(2):
        AtomicCheckpointIO().save_checkpoint({"a": number}, LAST)
    LAST.write_bytes(LAST.read_bytes()[:-100])
    AtomicCheckpointIO().save_checkpoint({"a": 2}, LAST)
    assert (value(LAST), value(PREVIOUS)) == (2, 0)


def test_a_damaged_checkpoint_is_not_read():
    AtomicCheckpointIO().save_checkpoint({"a": torch.ones(1000)}, LAST)
    assert AtomicCheckpointIO().load_checkpoint(LAST)["a"].all()
    content = bytearray(LAST.read_bytes())
    content[len(content) // 2] ^= 1
    LAST.write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        AtomicCheckpointIO().load_checkpoint(LAST)


def test_file_and_folder_are_on_the_disk_when_a_checkpoint_is_written(monkeypatch):
    synced, fsync = [], os.fsync

    def note(number):
        synced.append(os.readlink(f"/proc/self/fd/{number}"))
        fsync(number)

    monkeypatch.setattr(os, "fsync", note)
    AtomicCheckpointIO().save_checkpoint({"a": 1}, LAST)
    file, folder = synced
    assert ".last." in file
    assert folder == str(FOLDER.resolve())
