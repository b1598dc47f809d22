import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import pytest
import torch
import yaml
from helpers import REPOSITORY, metrics_in, rows_of, same, weights
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import lit_vision.commands  # noqa: F401
from lit_vision.parsing import vision_cli
from lit_vision.parsing.arguments import find_config

QUICK = "--data.train_size 300 --data.val_size 100 --data.test_size 100 --trainer.accelerator cpu --trainer.max_epochs"
RUN = Path("lightning_logs/shapes/version_0")


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
    assert sorted(path.name for path in (RUN / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]

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


def test_validate_and_test_give_back_the_very_figures(cli, process):
    cli(f"fit --config shapes.yaml {QUICK} 3")
    best = max(rows_of(RUN), key=lambda row: float(row["val/acc"]))
    fresh = process("-m", "lit_vision", "validate", "--ckpt_path", "best")
    assert (fresh.code, fresh.err) == (0, "")
    printed = metrics_in(fresh.out)
    assert printed == {"val/acc": float(best["val/acc"]), "val/loss": float(best["val/loss"])}
    last = metrics_in(cli("validate --ckpt_path last").out)
    assert last == {"val/acc": float(rows_of(RUN)[-1]["val/acc"]), "val/loss": float(rows_of(RUN)[-1]["val/loss"])}
    tested = metrics_in(cli("test --ckpt_path best").out)
    assert set(tested) == {"test/acc", "test/loss"}
    events = EventAccumulator(str(RUN)).Reload()
    assert [event.value for event in events.Scalars("test/acc")] == pytest.approx([tested["test/acc"]])
    assert os.listdir("lightning_logs/shapes") == ["version_0"]  # no empty runs beside it


def test_same_seed_same_metrics(cli):
    for seed in (0, 0, 1):
        cli(f"fit --config shapes.yaml {QUICK} 2 --seed_everything {seed} --data.augment [flip,jitter,rotate]")
    runs = [rows_of(RUN.with_name(f"version_{number}")) for number in range(3)]
    assert runs[0] == runs[1] != runs[2]
    assert runs[0][0]["train/loss"] != runs[2][0]["train/loss"]


@pytest.mark.parametrize("more", ["", "--data.augment [flip,jitter,rotate]"])
def test_a_resumed_run_equals_one_that_never_stopped(cli, more):
    cli(f"fit --config shapes.yaml {QUICK} 3 {more}")
    cli(f"fit --config shapes.yaml {QUICK} 2 {more}")
    stopped = RUN.with_name("version_1")
    result = cli("fit --ckpt_path last --trainer.max_epochs 3")
    assert result.code == 0
    assert "epoch 3/3" in result.out
    assert "epoch 2/3" not in result.out
    assert rows_of(stopped) == rows_of(RUN)  # it goes on in its folder, with the rows from before
    assert same(weights(stopped / "checkpoints" / "last.ckpt"), weights(RUN / "checkpoints" / "last.ckpt"))
    assert same(weights(stopped / "checkpoints" / "best.ckpt"), weights(RUN / "checkpoints" / "best.ckpt"))
    assert len(os.listdir("lightning_logs/shapes")) == 2


def test_config_of_a_run_runs_it_again(cli):
    cli(f"fit --config shapes.yaml {QUICK} 1 --model.lr 0.05 --name tried")
    run = Path("lightning_logs/tried/version_0")
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["init_args"]["lr"] == 0.05
    assert config["data"]["init_args"]["augment"] == []  # complete: what was not given is there, too
    assert cli(f"fit --config {run / 'config.yaml'}").code == 0
    assert rows_of(run) == rows_of(run.with_name("version_1"))


def test_command_line_wins_over_config_and_both_over_the_checkpoint(cli):
    cli(f"fit --config shapes.yaml {QUICK} 1 --model.lr 0.05")
    Path("mine.yaml").write_text("model: {init_args: {lr: 0.01}}\ntrainer: {max_epochs: 2}\nname: mine\n")
    config = f"--config {RUN / 'config.yaml'} --config mine.yaml"
    cli(
        f"fit --model.momentum 0.5 {config} --ckpt_path {RUN / 'checkpoints' / 'best.ckpt'}"
    )  # options before configs, too
    mine = Path("lightning_logs/mine/version_0")
    group = torch.load(mine / "checkpoints" / "last.ckpt", weights_only=True)["optimizer_states"][0]["param_groups"][0]
    assert (group["lr"], group["momentum"]) == (0.01, 0.5)
    assert [row["lr"] for row in rows_of(mine)] == ["0.05", "0.01"]
    assert rows_of(RUN) == rows_of(mine)[:1]  # the run that it started from is left as it was


def test_best_and_last_are_the_newest_runs(cli):
    for name, batch_size in (("a", 8), ("b", 16)):
        cli(f"fit --config shapes.yaml {QUICK} 1 --name {name} --data.batch_size {batch_size}")
    figures = {name: float(rows_of(Path(f"lightning_logs/{name}/version_0"))[0]["val/loss"]) for name in ("a", "b")}
    assert figures["a"] != figures["b"]
    assert metrics_in(cli("validate --ckpt_path best").out)["val/loss"] == figures["b"]
    assert metrics_in(cli(f"validate --config shapes.yaml {QUICK} 1 --ckpt_path last").out)["val/loss"] == figures["b"]
    assert metrics_in(cli("validate --ckpt_path best --name a").out)["val/loss"] == figures["a"]
    named = cli(f"validate --config shapes.yaml {QUICK} 1 --ckpt_path best --name a")
    assert metrics_in(named.out)["val/loss"] == figures["a"]
    os.rename("lightning_logs/a", "lightning_logs/moved")
    os.utime("lightning_logs/b/version_0/checkpoints/last.ckpt", (0, 0))
    assert metrics_in(cli("validate --ckpt_path last").out)["val/loss"] == figures["a"]


def test_another_run_that_starts_from_last_leaves_the_old_one_as_it_was(cli):
    cli(f"fit --config shapes.yaml {QUICK} 1")
    before = {path: path.read_bytes() for path in RUN.rglob("*") if path.is_file()}
    cli("fit --ckpt_path last --trainer.max_epochs 2 --model.lr 0.5")
    assert {path: path.read_bytes() for path in RUN.rglob("*") if path.is_file()} == before
    assert [row["lr"] for row in rows_of(RUN.with_name("version_1"))] == ["0.01", "0.5"]


def test_an_epoch_cannot_go_on_with_other_batches(cli):
    cli(f"fit --config shapes.yaml {QUICK} 2")
    path = RUN / "checkpoints" / "last.ckpt"
    state = torch.load(path, weights_only=True)
    state["loops"]["fit_loop"]["state_dict"]["combined_loader"] = [{"epoch": 1, "batch": 3, "batches": 7}]
    progress = state["loops"]["fit_loop"]["epoch_progress"]["current"]
    progress.update(ready=2, started=2, processed=1, completed=1)
    torch.save(state, path)
    result = cli("fit --ckpt_path last --data.batch_size 64 --trainer.max_epochs 3")
    assert result.code == 2
    assert "middle of an epoch of 7 batches" in result.err


def test_own_files_are_left_alone_without_a_logger(cli):
    Path("config.yaml").write_text("# mine\ntrainer: {max_epochs: 1}\n")
    assert cli(f"fit --config shapes.yaml --config config.yaml {QUICK} 1 --trainer.logger false").code == 0
    assert Path("config.yaml").read_text() == "# mine\ntrainer: {max_epochs: 1}\n"


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


def test_a_terminal_gets_a_progress_bar():
    line = f"stty rows 40 cols 120; exec {sys.executable} -m lit_vision fit --config shapes.yaml {QUICK} 1"
    command = ["sh", "-c", line]
    code = f"import os, pty; print(os.waitstatus_to_exitcode(pty.spawn({command!r})))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120, check=True)
    shown = result.stdout.decode().replace("\r", "\n")
    assert "epoch 1: 100%" in shown, shown
    assert "epoch 1/1  loss" in shown
    assert shown.split()[-1] == "0"


def test_shapes_yaml_ends_above_90_percent(process):
    result = process(str(REPOSITORY / "scripts" / "fit.py"), "--config", "shapes.yaml")
    assert result.code == 0, result.err
    assert float(rows_of(RUN)[-1]["val/acc"]) > 0.9
    curves = Image.open(RUN / "curves.png").convert("RGB")
    colours = {colour for _, colour in curves.getcolors(2**20)}
    assert {
        (31, 119, 180),
        (255, 127, 14),
    } <= colours  # matplotlib's first two: a curve for train and one for validation


def test_without_a_config_fit_takes_the_built_in_set(cli):
    result = cli("fit --trainer.fast_dev_run true --trainer.accelerator cpu")
    assert result.code == 0
    assert "ShapesDataModule" in result.out
    assert not Path("lightning_logs").exists()


def test_own_folder_from_the_command_line(cli, folders):
    root = folders({"train": {"red": 12, "blue": 12}, "val": {"red": 3, "blue": 3}}, size=20)
    options = "--data.val_size 0 --data.batch_size 4 --model.lr 0.01 --trainer.max_epochs 3 --trainer.accelerator cpu"
    fit = f"fit --config cifar.yaml --data ImageFolderDataModule --data.root {root} {options}"
    result = cli(fit)
    assert result.code == 0, result.err
    assert "validation uses the split 'val', which test uses too" in result.out
    assert metrics_in(cli("test --ckpt_path best").out)["test/acc"] == 1.0
    hparams = torch.load("lightning_logs/cifar/version_0/checkpoints/best.ckpt", weights_only=True)["hyper_parameters"]
    assert (hparams["class_names"], hparams["image_size"]) == (["blue", "red"], 20)
    result = cli(f"{fit} --trainer.limit_val_batches 0")
    assert result.code == 0, result.err
    assert "test uses too" not in result.out  # no checkpoint is chosen on it
    assert metrics_in(cli("test --ckpt_path last").out)["test/acc"] == 1.0


def test_validates_a_file_that_the_notebook_saved(cli):
    cli(f"fit {QUICK} 1")
    torch.save(weights(RUN / "checkpoints" / "best.ckpt"), "CNN.pth")
    given = cli(f"validate --config shapes.yaml {QUICK} 1 --model.weights CNN.pth")
    assert metrics_in(given.out) == metrics_in(cli("validate --ckpt_path best").out)


@pytest.mark.parametrize(
    "words", ["--help", "fit --help", "validate --help", "test --help", "fit --model.help SmallCNN"]
)
def test_help(cli, words):
    result = cli(words)
    assert result.code == 0
    assert "usage: " in result.out or "conv1" in result.out


def test_every_option_of_ours_has_help_text(cli):
    for words in (
        "fit --model.help SmallCNN",
        "fit --model.help TransferClassifier",
        "fit --data.help CIFAR10DataModule",
        "fit --data.help HymenopteraDataModule",
        "fit --data.help ImageFolderDataModule",
        "fit --data.help ImageTableDataModule",
        "fit --data.help ShapesDataModule",
    ):
        lines = cli(words).out.splitlines()
        options = [i for i, line in enumerate(lines) if line.strip().startswith("--") and ".help" not in line]
        assert len(options) > 8
        for i in options:
            text = lines[i].split("  ")[-1].strip() if "  " in lines[i].strip() else lines[i + 1].strip()
            assert len(text) > 10, lines[i]
            assert not text.startswith("(type"), lines[i]


@pytest.mark.parametrize("config", sorted(path.name for path in (REPOSITORY / "lit_vision" / "configs").glob("*.yaml")))
def test_every_shipped_config_is_accepted(cli, config):
    result = cli(f"fit --config {config} --print_config")
    assert result.code == 0
    assert yaml.safe_load(result.out)["model"]["class_path"]


def test_a_built_wheel_has_the_configs(process, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(
        REPOSITORY, source, ignore=shutil.ignore_patterns(".git", ".venv", "*.egg-info", "lightning_logs", "build")
    )
    code = (
        "import os, setuptools.build_meta as backend; os.chdir('source'); "
        "os.makedirs('../wheel'); backend.build_wheel('../wheel')"
    )
    assert process("-c", code).code == 0
    names = zipfile.ZipFile(next((tmp_path / "wheel").glob("*.whl"))).namelist()
    for config in (REPOSITORY / "lit_vision" / "configs").glob("*.yaml"):
        assert f"lit_vision/configs/{config.name}" in names


def test_a_file_wins_over_a_shipped_config_of_its_name():
    assert find_config("cifar.yaml").parent.name == "configs"
    Path("cifar.yaml").write_text("trainer: {max_epochs: 1}\n")
    assert find_config("cifar.yaml") == Path("cifar.yaml")


def test_a_broken_torchvision_is_one_line(process, tmp_path):
    (tmp_path / "torchvision").mkdir()
    broken = "raise RuntimeError('operator torchvision::nms does not exist')"
    (tmp_path / "torchvision" / "__init__.py").write_text(broken)
    result = process("-m", "lit_vision", "fit", PYTHONPATH=str(tmp_path))
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
    for words in ("torch ", "torchvision ", "do not fit", "pip install"):
        assert words in result.err


def test_tensorboard_serves_the_named_scalars(cli):
    cli(f"fit --config shapes.yaml {QUICK} 2")
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
    monkeypatch.setattr(vision_cli, "has_fast_bfloat16", lambda device: fast)
    monkeypatch.setattr(vision_cli.VisionCLI, "fit", lambda self, **kwargs: seen.append(self.trainer.precision))
    data = "--data ShapesDataModule --trainer.accelerator cpu"
    assert cli(f"fit --config {config} {data} {more}").code == 0
    assert seen == [precision]
