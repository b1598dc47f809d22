"""Several processes do what one does."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers import metrics_in, rows_of, same, weights

from lit_vision.commands.fit import FitCLI

pytestmark = pytest.mark.slow
RUNS = Path("lightning_logs/shapes")
TWO = "--trainer.devices 2 --trainer.strategy ddp"


def fit(options):
    return ["-m", "lit_vision", *f"fit --config shapes.yaml --trainer.accelerator cpu {options}".split()]


def test_two_processes_count_and_train_as_one_and_go_on_after_a_signal_to_one(process, cli):
    data = "--data.train_size 1209 --data.test_size 9999 --data.val_size 0 --trainer.max_epochs 1"
    options = f"{data} --data.batch_size 4 --checkpoint.every_n_steps 10 {TWO}"  # 1 image is left for the last step
    together = process(*fit(options))
    assert together.code == 0, together.err
    assert "a global batch of 8 images" in together.out
    assert together.out.count("global batch") == together.out.count("epoch 1/1") == 1
    alone = cli(f"fit --config shapes.yaml --trainer.accelerator cpu {data} --trainer.devices 1 --data.batch_size 8")
    assert alone.code == 0, alone.err
    (two,), (one,) = rows_of(RUNS / "version_0"), rows_of(RUNS / "version_1")
    for name, count in (("train", 1209), ("val", 9999)):
        assert round(float(two[f"{name}/acc"]) * count) == round(float(one[f"{name}/acc"]) * count)
        assert float(two[f"{name}/loss"]) == pytest.approx(float(one[f"{name}/loss"]), rel=1e-5)
    last = [RUNS / f"version_{number}" / "checkpoints" / "last.ckpt" for number in range(3)]
    for name, tensor in weights(last[0]).items():
        torch.testing.assert_close(tensor, weights(last[1])[name], atol=1e-5, rtol=0)
    assert len(list((RUNS / "version_0").glob("events*"))) == 1

    with subprocess.Popen(
        [sys.executable, *fit(options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        while running.poll() is None and not last[2].exists():
            time.sleep(0.05)
        running.send_signal(signal.SIGTERM)  # to the first of the two alone
        out, err = running.communicate(timeout=60)
    assert running.returncode == 143, out + err
    assert "Traceback" not in err
    state = torch.load(last[2], weights_only=True)
    assert 0 < state["global_step"] < 152
    assert state["global_step"] % 10 == 0
    assert process("-m", "lit_vision", "fit", "--ckpt_path", "last").code == 0
    assert rows_of(RUNS / "version_2") == [two]
    assert same(weights(last[0]), weights(last[2]))


def test_a_run_of_two_processes_goes_on_with_one_in_the_same_folder(process, cli):
    data = "--data.train_size 609 --data.val_size 100 --data.global_batch_size 12 --trainer.max_epochs"
    whole = cli(f"fit --config shapes.yaml --trainer.accelerator cpu --trainer.devices 1 {data} 2")
    assert whole.code == 0, whole.err
    Path("killing.py").write_text(
        "import os, signal\n"
        "from lightning.pytorch import Callback\n"
        "class Kill(Callback):\n"
        "    def on_train_batch_end(self, trainer, *args):\n"
        "        if trainer.global_rank == 1 and trainer.global_step == 25:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    options = f"{data} 2 {TWO} --checkpoint.every_n_steps 10 --trainer.callbacks killing.Kill"
    first = process(*fit(options), PYTHONPATH=str(Path.cwd()))
    assert first.code == 2, first.err
    assert "a global batch of 12 images" in first.out
    (error,) = first.err.splitlines()
    assert "another process of the run has ended" in error
    assert "--ckpt_path last" in error
    alone = "--trainer.devices 1 --trainer.strategy auto --trainer.callbacks null"
    second = cli(f"fit --ckpt_path last {alone}")
    assert second.code == 0, second.err
    assert "trained by 2 processes, not 1" in second.out
    for ours, theirs in zip(rows_of(RUNS / "version_1"), rows_of(RUNS / "version_0"), strict=True):
        assert {k: float(v) for k, v in ours.items()} == pytest.approx({k: float(v) for k, v in theirs.items()}, 1e-5)
    assert len(list(RUNS.iterdir())) == 2


@pytest.mark.parametrize("optimizer", ["sgd", "muon_sgd"])
def test_two_processes_train_batch_norm_though_one_has_no_image_in_the_last_step(process, cli, optimizer):
    data = "--data ShapesDataModule --data.train_size 129 --data.test_size 501 --data.val_size 0 --data.batch_size 8"
    model = f"--data.crop_epochs 1 --model.widths [8,16,16] --model.lr 0.1 --model.optimizer {optimizer}"
    model += " --trainer.max_epochs 2"
    result = process(*f"-m lit_vision fit --config cifar94.yaml {data} {model} {TWO}".split())
    assert result.code == 0, result.err
    row = rows_of(Path("lightning_logs/cifar94/version_0"))[-1]
    checked = metrics_in(cli("validate --ckpt_path last --trainer.devices 1 --trainer.strategy auto").out)
    assert checked["val/acc"] == float(row["val/acc"])
    assert checked["val/loss"] == pytest.approx(float(row["val/loss"]), rel=1e-3)  # in bfloat16, by other batches


def test_a_loss_that_is_no_number_in_one_process_stops_all(process):
    poison = (
        "import math\n"
        "from lightning.pytorch import Callback\n"
        "class Poison(Callback):\n"
        "    def on_train_batch_start(self, trainer, model, batch, batch_idx):\n"
        "        if trainer.global_rank == 1 and trainer.global_step == 5:\n"
        "            batch.image.fill_(math.nan)\n"
    )
    Path("poison.py").write_text(poison)
    line = f"--data.train_size 2000 --trainer.max_epochs 1 --trainer.callbacks poison.Poison {TWO}"
    result = process(*fit(line), PYTHONPATH=str(Path.cwd()))
    assert result.code == 2, result.err
    lines = result.err.splitlines()
    assert 1 <= len(lines) <= 2  # one of each process, unless the first ends the other
    assert all("the loss is" in line and "at step " in line for line in lines)
    assert not (RUNS / "version_0").exists()


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_fork", "ddp_notebook_find_unused_parameters_false"])
def test_a_command_starts_its_processes_as_ddp_does(strategy):
    options = f"--config shapes.yaml --trainer.accelerator cpu --trainer.devices 2 --trainer.strategy {strategy}"
    made = FitCLI(options.split()).trainer.strategy
    assert (type(made).__name__, made._start_method) == ("DDPStrategy", "popen")
