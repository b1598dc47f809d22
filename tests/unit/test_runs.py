import os
from pathlib import Path

import pytest
import torch

from lit_vision.errors import UserError
from lit_vision.runs import find_checkpoint
from lit_vision.utils.files import keep_previous

LOGS = Path("lightning_logs")


@pytest.fixture
def run():
    def make(name, *files, time=0):
        folder = LOGS / name / "version_0" / "checkpoints"
        folder.mkdir(parents=True)
        for file in files:
            torch.save({"a": torch.ones(100)}, folder / file)
            os.utime(folder / file, (time, time))
        return folder

    return make


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_run_with_one_of_its_checkpoints_is_found(run):
    run("older", "best.ckpt", "last.ckpt", time=1)
    folder = run("newer", "best.ckpt", time=2)
    assert find_checkpoint("best", LOGS) == folder / "best.ckpt"
    with pytest.raises(UserError, match=r"there is no .*newer.*last.ckpt: use --ckpt_path best"):
        find_checkpoint("last", LOGS)


@pytest.mark.parametrize("fault", ["damaged", "empty", "missing"])
def test_the_checkpoint_before_a_bad_last_one_is_used(run, fault, caplog):
    folder = run("a", "last.ckpt", "previous.ckpt")
    last = folder / "last.ckpt"
    if fault == "missing":
        last.unlink()
    elif fault == "empty":
        last.write_bytes(b"")
    else:
        damage(last)
    assert find_checkpoint("last", LOGS) == folder / "previous.ckpt"
    assert "previous.ckpt, the one before it" in caplog.text


def test_a_whole_last_checkpoint_is_used(run):
    folder = run("a", "last.ckpt", "previous.ckpt")
    assert find_checkpoint("last", LOGS) == folder / "last.ckpt"


@pytest.mark.parametrize("links", [True, False])
def test_a_file_keeps_a_second_name(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.delattr(os, "link")
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links")), raising=False)
    last, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    keep_previous(last, previous)
    assert not [*tmp_path.iterdir()]
    for content in ("1", "2"):
        last.write_text(content)
        keep_previous(last, previous)
        assert previous.read_text() == content
        assert last.exists() == links
        last.unlink(missing_ok=True)
    assert [*tmp_path.iterdir()] == [previous]
