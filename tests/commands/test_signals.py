"""Ctrl-C and SIGTERM end a run after its step, with last.ckpt written."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from helpers import REPOSITORY, RUN, TINY, rows_of, same, weights

from lit_vision.callbacks import EpochLog

pytestmark = pytest.mark.slow


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


def test_sigterm_before_the_first_step_is_143(cli, monkeypatch):
    def terminate(self, *args):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(EpochLog, "on_validation_end", terminate)  # the sanity check's
    assert cli(f"{TINY} --trainer.max_epochs 1").code == 143
