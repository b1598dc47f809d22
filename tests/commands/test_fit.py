import json
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import torch
from helpers import QUICK, REPOSITORY, RUN, TINY, metrics_in, rows_of, run
from lightning.pytorch import Trainer
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lit_vision.utils import precision as precision_module


@pytest.mark.slow
def test_a_run_shows_and_writes_what_it_promises(cli):
    result = cli(f"fit --config shapes.yaml {QUICK} 2")
    assert result.code == 0
    assert result.err == ""
    for shape in ("[1, 3, 32, 32]", "[1, 6, 28, 28]", "[1, 6, 14, 14]", "[1, 16, 10, 10]", "[1, 16, 5, 5]", "[1, 400]"):
        assert shape in result.out  # the notebook's derivation
    lines = [line for line in result.out.splitlines() if line.startswith("epoch")]
    for number, (line, row) in enumerate(zip(lines, rows_of(RUN, timings=True), strict=True), 1):
        means = "  ".join(
            f"{name} {float(row[key]):.4f}"
            for name, key in (
                ("loss", "train/loss"),
                ("acc", "train/acc"),
                ("val_loss", "val/loss"),
                ("val_acc", "val/acc"),
            )
        )
        assert line == f"epoch {number}/2  {means}  {float(row['time/epoch']):.1f} s"
        assert float(row["time/images_per_second"]) > 0
    best = RUN / "checkpoints" / "best.ckpt"
    assert f"lit-vision test --ckpt_path {best}" in result.out
    assert max(float(row["val/acc"]) for row in rows_of(RUN)) == pytest.approx(
        float(result.out.split("best   val/acc ")[1][:6]), abs=5e-5
    )
    assert Image.open(RUN / "curves.png").size[0] > 600
    assert sorted(path.name for path in (RUN / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt", "previous.ckpt"]

    events = EventAccumulator(str(RUN)).Reload()
    tags = {"train/loss", "train/acc", "val/loss", "val/acc", "lr", "time/images_per_second"}
    assert tags <= set(events.Tags()["scalars"])
    for tag in ("train/loss", "val/acc", "lr"):
        assert [event.value for event in events.Scalars(tag)] == pytest.approx(
            [float(row[tag]) for row in rows_of(RUN)]
        )
    layout = events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    assert b"train/loss" in layout
    assert b"val/acc" in layout


@pytest.mark.slow
def test_same_seed_same_metrics(cli):
    for seed in (0, 0, 1):
        cli(f"fit --config shapes.yaml {QUICK} 2 --seed_everything {seed} --data.augment [flip,jitter,rotate]")
    runs = [rows_of(RUN.with_name(f"version_{number}")) for number in range(3)]
    assert runs[0] == runs[1] != runs[2]
    assert runs[0][0]["train/loss"] != runs[2][0]["train/loss"]


@pytest.mark.slow
def test_without_a_config_fit_takes_the_built_in_set(cli):
    result = cli("fit --trainer.fast_dev_run true --trainer.accelerator cpu")
    assert result.code == 0
    assert "ShapesDataModule" in result.out
    assert not Path("lightning_logs").exists()


@pytest.mark.slow
def test_own_folder_from_the_command_line(cli, folders):
    root = folders({"train": {"red": 12, "blue": 12}, "val": {"red": 3, "blue": 3}}, size=20)
    options = "--data.val_size 0 --data.batch_size 4 --model.lr 0.01 --trainer.max_epochs 3 --trainer.accelerator cpu"
    fit = f"fit --config cifar.yaml --data ImageFolderDataModule --data.root {root} {options}"
    result = cli(fit)
    assert result.code == 0, result.err
    assert "validation uses the split 'val', and so does test" in result.out
    assert metrics_in(cli("test --ckpt_path best").out)["test/acc"] == 1.0
    hparams = torch.load("lightning_logs/cifar/version_0/checkpoints/best.ckpt", weights_only=True)["hyper_parameters"]
    assert (hparams["class_names"], hparams["image_size"]) == (["blue", "red"], 20)
    result = cli(f"{fit} --trainer.limit_val_batches 0")
    assert result.code == 0, result.err
    assert "so does test" not in result.out  # no checkpoint is chosen on it
    assert metrics_in(cli("test --ckpt_path last").out)["test/acc"] == 1.0


def test_own_files_are_left_alone_without_a_logger(cli):
    Path("config.yaml").write_text("# mine\ntrainer: {max_epochs: 1}\n")
    assert cli(f"fit --config shapes.yaml --config config.yaml {QUICK} 1 --trainer.logger false").code == 0
    assert Path("config.yaml").read_text() == "# mine\ntrainer: {max_epochs: 1}\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        "--trainer.limit_val_batches 0",
        "--trainer.max_steps 5",
        "--trainer.logger CSVLogger --trainer.logger.save_dir .",
        "--trainer.precision bf16-true",
        "--trainer.enable_checkpointing true",
        "--trainer.overfit_batches 1",
    ],
)
def test_the_trainers_own_options_work(cli, more):
    result = cli(f"fit --config shapes.yaml {QUICK} 2 {more}")
    assert (result.code, result.err) == (0, "")
    assert "next   lit-vision test" in result.out


@pytest.mark.slow
def test_a_terminal_gets_a_progress_bar():
    line = f"stty rows 40 cols 120; exec {sys.executable} -m lit_vision fit --config shapes.yaml {QUICK} 1"
    command = ["sh", "-c", line]
    code = f"import os, pty; print(os.waitstatus_to_exitcode(pty.spawn({command!r})))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120, check=True)
    shown = result.stdout.decode().replace("\r", "\n")
    assert "epoch 1/1: 100%" in shown, shown
    assert "epoch 1/1  loss" in shown
    assert shown.split()[-1] == "0"


@pytest.mark.slow
def test_shapes_yaml_passes_90_percent_in_half_of_its_epochs(process):
    half = ["--trainer.max_epochs", "6"]
    result = process(str(REPOSITORY / "scripts" / "fit.py"), "--config", "shapes.yaml", *half)
    assert result.code == 0, result.err
    assert float(rows_of(RUN)[-1]["val/acc"]) > 0.9
    curves = Image.open(RUN / "curves.png").convert("RGB")
    colours = {colour for _, colour in curves.getcolors(2**20)}
    assert {
        (31, 119, 180),
        (255, 127, 14),
    } <= colours  # matplotlib's first two: a curve for train and one for validation


@pytest.mark.slow
def test_tensorboard_serves_the_named_scalars(fitted):
    fitted(f"fit --config shapes.yaml {QUICK} 2")
    command = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        "lightning_logs",
        "--port",
        "0",
        "--load_fast",
        "false",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            address = next(found[0] for line in server.stderr if (found := re.search(r"http://localhost:\d+/", line)))
            tags: dict = {}
            for _ in range(100):  # it reads the run in the background
                tags = json.load(urllib.request.urlopen(f"{address}data/plugin/scalars/tags", timeout=10))
                if "time/images_per_second" in tags.get("shapes/version_0", {}):
                    break
                time.sleep(0.1)
            expected = {"train/loss", "train/acc", "val/loss", "val/acc", "lr", "time/images_per_second"}
            assert expected <= set(tags["shapes/version_0"])
            query = "data/plugin/scalars/scalars?tag=val%2Facc&run=shapes%2Fversion_0"
            points = json.load(urllib.request.urlopen(address + query, timeout=10))
            assert [value for *_, value in points] == pytest.approx([float(row["val/acc"]) for row in rows_of(RUN)])
            layout = json.load(urllib.request.urlopen(f"{address}data/plugin/custom_scalars/layout", timeout=10))
            assert [chart["title"] for chart in layout["category"][0]["chart"]] == ["loss", "accuracy"]
        finally:
            server.terminate()


@pytest.mark.parametrize(
    ("config", "fast", "more", "precision"),
    [
        ("cifar94.yaml", True, "", "bf16-mixed"),
        ("cifar94.yaml", False, "", "32-true"),
        ("cifar94.yaml", True, "--trainer.precision 32", "32-true"),
        ("cifar.yaml", True, "", "32-true"),
    ],
)
def test_bfloat16_is_chosen_where_the_network_and_the_device_call_for_it(
    cli, monkeypatch, config, fast, more, precision
):
    seen = []
    monkeypatch.setattr(precision_module, "has_fast_bfloat16", lambda device: fast)
    monkeypatch.setattr(Trainer, "fit", lambda self, *args, **kwargs: seen.append(self.precision))
    data = "--data ShapesDataModule --trainer.accelerator cpu"
    assert cli(f"fit --config {config} {data} {more}").code == 0
    assert seen == [precision]


def test_a_loss_that_is_no_number_stops_the_run(cli):
    result = cli(f"{TINY} --trainer.max_epochs 2 --model.lr 1e6")
    assert result.code == 2
    (line,) = result.err.splitlines()
    assert re.search(
        r"the loss is (nan|inf) at step \d+, in epoch 1, with lr 1e\+06; there is no good checkpoint", line
    )
    assert "--model.lr" in line
    assert not RUN.exists()


@pytest.mark.slow
def test_a_run_whose_reader_is_gone_trains_on():
    line = f"{TINY} --trainer.max_epochs 2 --trainer.accelerator cpu"
    command = f"{sys.executable} -m lit_vision {line} | head -1; exit ${{PIPESTATUS[0]}}"
    done = run(["bash", "-c", command])
    assert (done.code, done.err) == (0, "")
    assert len(done.out.splitlines()) == 1
    assert len(rows_of(RUN)) == 2
    assert (RUN / "checkpoints" / "last.ckpt").is_file()
