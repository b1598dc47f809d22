"""A full disk ends a run in one line, and the files that were written before are kept."""

import sys

import pytest
from helpers import RUN, TINY, run

from lit_vision.callbacks import epoch_log


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_keeps_the_checkpoint_before(cli, fitted):
    fitted(f"{TINY} --trainer.max_epochs 1")
    before = (RUN / "checkpoints" / "last.ckpt").read_bytes()
    limit = len(before) // 1024 // 2  # blocks of a file
    command = f"ulimit -f {limit}; exec {sys.executable} -m lit_vision fit --ckpt_path last --trainer.max_epochs 3"
    done = run(["bash", "-c", command])
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert "last.ckpt" in line or "best.ckpt" in line
    assert "the one before is kept" in line
    assert (RUN / "checkpoints" / "last.ckpt").read_bytes() == before
    assert {path.name for path in (RUN / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert cli("fit --ckpt_path last --trainer.max_epochs 2").code == 0


def test_a_table_that_cannot_be_written_is_one_line(cli, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(epoch_log, "atomic_write", full)
    monkeypatch.setattr(epoch_log, "plot_curves", full)
    result = cli(f"{TINY} --trainer.max_epochs 1")
    assert result.code == 2
    (line,) = result.err.splitlines()
    assert all(word in line for word in (str(RUN), "No space left", "--trainer.default_root_dir"))
