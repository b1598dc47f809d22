"""A full disk ends a run in one line, and the files that were written before are kept."""

import resource
import sys
from pathlib import Path

import pytest
from helpers import RUN, TINY, run
from PIL import Image

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


@pytest.fixture
def small_files():
    """No file may become larger than 8 KiB, as on a disk that is almost full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.slow
def test_other_commands_write_all_or_nothing(cli, fitted, request):
    fitted(f"{TINY} --trainer.max_epochs 1")
    Path("p").mkdir()
    for number in range(60):
        Image.new("RGB", (32, 32)).save(f"p/{number}.png")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    request.getfixturevalue("small_files")
    for line, name in (
        ("predict --ckpt_path last --images p --output o.csv", "o.csv"),
        ("predict --ckpt_path last --images p --grid g.png", "g.png"),
        ("export --ckpt_path last --output w.pth", "w.pth"),
        ("test --ckpt_path last --data.test_size 50", "report"),
        ("lr-find --config shapes.yaml --data.train_size 400 --data.val_size 9 --num_training 20", "lr_find.png"),
    ):
        result = cli(line)
        assert result.code == 2, line
        (message,) = result.err.splitlines()
        assert name in message
        assert "File too large" in message
        assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
