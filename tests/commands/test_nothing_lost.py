"""A run that is stopped, killed, or meets a full disk, loses nothing."""

import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers import REPOSITORY, rows_of, same, weights
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lit_vision.callbacks import BestAndLast, EpochLog, epoch_log
from lit_vision.trainer.checkpoint_io import AtomicCheckpointIO

RUN = Path("lightning_logs/shapes/version_0")
TINY = "fit --config shapes.yaml --data.train_size 400 --data.val_size 100"


def start(*options):
    """A fit in a process of its own, once it trains."""
    command = [sys.executable, str(REPOSITORY / "scripts" / "fit.py"), "--config", "shapes.yaml", *options]
    running = subprocess.Popen(
        [*command, "--checkpoint.every_n_steps", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while running.poll() is None and not (RUN / "checkpoints" / "last.ckpt").exists():
        time.sleep(0.1)
    return running


def test_sigterm_writes_last_and_the_run_goes_on_from_that_step(cli):
    options = "--data.train_size 2000 --data.batch_size 4 --trainer.max_epochs 2 --trainer.accelerator cpu".split()  # noqa: SIM905
    with start(*options) as running:
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 143, err
    assert "--ckpt_path" in out + err
    assert "Traceback" not in err
    state = torch.load(RUN / "checkpoints" / "last.ckpt", weights_only=True)
    assert 0 < state["global_step"] < 500
    assert cli("fit --ckpt_path last --checkpoint.every_n_steps null").code == 0
    assert cli("fit --config shapes.yaml", *options).code == 0
    whole = RUN.with_name("version_1")
    assert rows_of(whole) == rows_of(RUN)
    assert same(weights(whole / "checkpoints" / "last.ckpt"), weights(RUN / "checkpoints" / "last.ckpt"))


def test_killed_at_random_moments_it_ends_the_same(process):
    result = process(str(REPOSITORY / "tests" / "stress" / "kill_and_resume.py"), "--kills", "2")
    assert result.code == 0, result.out + result.err
    assert "2 of 2 the same" in result.out


@pytest.mark.parametrize(
    ("batch", "more", "step"),
    [
        (10, "", 10),  # the last of its epoch, which is validated before the run ends
        (6, "--trainer.accumulate_grad_batches 4", 2),  # in the middle of a step
        (5, "--trainer.val_check_interval 5", 6),  # before a validation
        (20, "", 20),  # the last of the run
        (10, "--trainer.max_steps 20", 10),
        (7, "--trainer.callbacks EMAWeightAveraging --trainer.callbacks.decay 0.9", 7),
    ],
)
def test_stopped_anywhere_it_ends_the_same(cli, interrupted, batch, more, step):
    line = f"{TINY} --trainer.max_epochs 2 --trainer.accelerator cpu {more}"
    assert interrupted(batch, line).code == 130
    last = RUN / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == step
    callbacks = more if "callbacks" in more else "--trainer.callbacks null"
    assert cli(f"fit --ckpt_path last {callbacks}").code == 0
    assert cli(line).code == 0
    whole = RUN.with_name("version_1")
    assert rows_of(whole) == rows_of(RUN)
    assert len(rows_of(whole)) == 2
    assert same(weights(whole / "checkpoints" / "last.ckpt"), weights(last))
    assert curve(whole) == curve(RUN)


def curve(run):
    """Step and train/loss of all points that TensorBoard draws."""
    events = EventAccumulator(str(run)).Reload()
    return [(point.step, point.value) for point in events.Scalars("train/loss")]


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("every_n_steps 4", [4, 8, 10]),
        ("every_n_steps 5", [5, 10]),
        ("every_n_steps 10", [10]),
        ("every_n_minutes 1e-9", [*range(1, 11)]),
    ],
)
def test_checkpoints_within_an_epoch(cli, monkeypatch, option, expected):
    steps = []
    save = BestAndLast._save_last
    monkeypatch.setattr(
        BestAndLast, "_save_last", lambda self, trainer: (steps.append(trainer.global_step), save(self, trainer))
    )
    result = cli(f"{TINY} --trainer.max_epochs 1 --checkpoint.{option}")
    assert result.code == 0, result.err
    assert steps == expected


def test_checkpoint_options_that_make_no_sense(cli):
    for option in ("every_n_steps 0", "every_n_minutes -1"):
        result = cli(f"{TINY} --checkpoint.{option}")
        assert result.code == 2
        assert f"--checkpoint.{option.split()[0]}" in result.err
        assert len(result.err.splitlines()) == 1


def test_a_full_disk_ends_the_run_and_keeps_the_checkpoint_before(process, cli):
    assert cli(f"{TINY} --trainer.max_epochs 1").code == 0
    before = (RUN / "checkpoints" / "last.ckpt").read_bytes()
    limit = len(before) // 1024 // 2  # blocks of a file
    command = f"ulimit -f {limit}; exec {sys.executable} -m lit_vision fit --ckpt_path last --trainer.max_epochs 3"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "last.ckpt" in line or "best.ckpt" in line
    assert "the one before is kept" in line
    assert (RUN / "checkpoints" / "last.ckpt").read_bytes() == before
    assert {path.name for path in (RUN / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert cli("fit --ckpt_path last --trainer.max_epochs 2").code == 0


def test_half_files_of_killed_processes_are_removed():
    folder = RUN / "checkpoints"
    folder.mkdir(parents=True)
    for name in (".last.123.ckpt", ".best.9.ckpt", ".other.1.ckpt"):
        (folder / name).write_text("half")
    AtomicCheckpointIO().save_checkpoint({"a": torch.ones(2)}, folder / "last.ckpt")
    assert {path.name for path in folder.iterdir()} == {".best.9.ckpt", ".other.1.ckpt", "last.ckpt"}


def test_a_table_that_cannot_be_written_is_one_line(cli, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(epoch_log, "atomic_write", full)
    monkeypatch.setattr(epoch_log, "plot_curves", full)
    result = cli(f"{TINY} --trainer.max_epochs 1")
    assert result.code == 2
    (line,) = result.err.splitlines()
    assert all(word in line for word in (str(RUN), "No space left", "--trainer.default_root_dir"))


def test_a_loss_that_is_no_number_stops_the_run(cli):
    result = cli(f"{TINY} --trainer.max_epochs 2 --model.lr 1e6")
    assert result.code == 2
    (line,) = result.err.splitlines()
    assert re.search(
        r"the loss is (nan|inf) at step \d+, in epoch 1, with lr 1e\+06; there is no good checkpoint", line
    )
    assert "--model.lr" in line
    assert not RUN.exists()


@pytest.mark.parametrize(("step", "what"), [(14, "the loss is nan at step 15"), (19, "a weight is NaN or infinite")])
def test_the_checkpoint_before_is_kept_where_weights_are_spoilt(cli, monkeypatch, step, what):
    assert cli(f"{TINY} --trainer.max_epochs 1").code == 0
    good = RUN / "checkpoints" / "last.ckpt"
    before = good.read_bytes()

    def spoil(self, trainer, model, *args):
        if trainer.global_step == step:
            model.layer_out.bias.data[0] = math.nan

    monkeypatch.setattr(EpochLog, "on_train_batch_end", spoil)
    result = cli(
        "fit --ckpt_path last --trainer.max_epochs 2 --trainer.limit_val_batches 0 --checkpoint.every_n_steps 19"
    )
    assert result.code == 2
    (line,) = result.err.splitlines()
    assert what in line
    assert f"the last good checkpoint is {good}" in line
    assert good.read_bytes() == before


def test_sigterm_before_the_first_step_is_143(cli, monkeypatch):
    def terminate(self, *args):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(EpochLog, "on_validation_end", terminate)  # the sanity check's
    assert cli(f"{TINY} --trainer.max_epochs 1").code == 143
