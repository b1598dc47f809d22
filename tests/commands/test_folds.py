"""lit-vision folds, and folds as an option of the data."""

import csv
from pathlib import Path

import pytest
import torch
from helpers import TINY, weights

pytestmark = pytest.mark.slow

FOLDS = f"{TINY.replace('fit', 'folds', 1)} --data.val_size 0 --trainer.max_epochs 1 --trainer.accelerator cpu --k 3"
LOGS = Path("lightning_logs/shapes_folds")


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_training_image_is_predicted_once_by_a_network_that_did_not_see_it(cli):
    result = cli(FOLDS)
    assert (result.code, result.err) == (0, "")
    rows = table(LOGS / "folds" / "predictions.csv")
    assert sorted(int(row["image"].removeprefix("train/")) for row in rows) == list(range(400))
    for fold in (1, 2, 3):
        own = {row["image"] for row in rows if row["fold"] == str(fold)}
        assert len(own) in (133, 134)
        report = table(LOGS / f"version_{fold - 1}" / "checkpoints" / "report_val" / "predictions.csv")
        assert own == {row["image"] for row in report}
    accuracy = sum(row["label"] == row["predicted"] for row in rows) / 400
    assert f"all         {accuracy:.4f} (" in result.out
    assert (LOGS / "folds" / "mistakes.png").is_file()
    assert "| class | precision |" in (LOGS / "folds" / "report.md").read_text()


def test_a_fold_is_the_fit_that_one_can_run_alone(cli):
    assert cli(FOLDS).code == 0
    alone = FOLDS.replace("folds", "fit", 1).replace("--k 3", "--data.val_fold 2/3 --name alone")
    assert cli(alone).code == 0
    one, other = (
        weights(Path(f"lightning_logs/{run}/checkpoints/last.ckpt"))
        for run in ("shapes_folds/version_1", "alone/version_0")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_same_command_goes_on_where_it_stopped(cli):
    assert cli(FOLDS).code == 0
    first = (LOGS / "folds" / "predictions.csv").read_text()
    times = {path: path.stat().st_mtime_ns for path in LOGS.glob("version_*/checkpoints/best.ckpt")}
    (LOGS / "version_1" / "checkpoints" / "report_val" / "predictions.csv").unlink()  # as if it had been killed there
    again = cli(FOLDS)
    assert again.code == 0
    assert again.out.count("done before") == 2
    assert (LOGS / "folds" / "predictions.csv").read_text() == first
    assert {
        path: path.stat().st_mtime_ns for path in LOGS.glob("version_*/checkpoints/best.ckpt")
    }.keys() == times.keys()
    other = cli(f"{FOLDS} --model.lr 0.02")
    assert other.code == 0
    assert "done before" not in other.out
    assert len(list(LOGS.glob("version_*"))) == 6


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--k 1", "k 1 is not a number of folds"),
        ("--k many", "k many is not a number of folds"),
        ("--k 60", "fewer than the 60 folds"),
        ("--ckpt_path best", "leave --ckpt_path and --data.val_fold out"),
        ("--data.val_fold 1/2", "leave --ckpt_path and --data.val_fold out"),
        ("--trainer.fast_dev_run true", "folds needs a checkpoint and a validation of each fold"),
        ("--trainer.limit_val_batches 0", "folds needs a checkpoint and a validation of each fold"),
        ("--trainer.enable_checkpointing false", "folds needs a checkpoint and a validation of each fold"),
        ("--trainer.devices 2", "folds trains in one process"),
    ],
)
def test_what_folds_refuses(cli, more, message):
    result = cli(f"{FOLDS} {more}")
    assert result.code == 2
    assert message in result.err
    assert result.err.count("\n") == 1
    assert not list(LOGS.glob("version_*/checkpoints"))


@pytest.mark.parametrize("fold", ["3", "0/5", "6/5", "1/1", "a/b", "1/5/2"])
def test_a_fold_that_is_none(cli, fold):
    result = cli(f"{TINY} --data.val_fold {fold}")
    assert result.code == 2
    assert f"val_fold {fold} is not a fold" in result.err


def test_another_fold_is_refused_when_a_run_goes_on(cli):
    line = f"{TINY} --data.val_size 0 --trainer.max_epochs 1"
    assert cli(f"{line} --data.val_fold 1/3").code == 0
    result = cli("fit --ckpt_path last --data.val_fold 2/3")
    assert result.code == 2
    assert "would move images between training and validation" in result.err
    assert "leave --data.val_fold as they were" in result.err
    assert cli("validate --ckpt_path last").code == 0


def test_class_names_that_look_like_formulas(cli, folders):
    names = {"=cat": 6, "-dog": 6}
    root = folders({"train": names})
    line = f"folds --config folder.yaml --data.root {root} --data.image_size 32 --trainer.max_epochs 1 --k 2"
    result = cli(line)
    assert (result.code, result.err) == (0, "")
    rows = table(Path("lightning_logs/folder_folds/folds/predictions.csv"))
    assert {row["label"] for row in rows} == {"'=cat", "'-dog"}
    assert cli(line).code == 0


def test_other_images_are_trained_anew(cli, folders):
    root = folders({"train": {"red": 9, "blue": 9}})
    line = f"folds --config folder.yaml --data.root {root} --data.image_size 32 --trainer.max_epochs 1 --k 3"
    assert cli(line).code == 0
    assert cli(line).out.count("done before") == 3
    (root / "train/red/0.png").rename(root / "train/red/other.png")
    again = cli(line)
    assert again.code == 0
    assert "done before" not in again.out
    rows = table(Path("lightning_logs/folder_folds/folds/predictions.csv"))
    assert sorted(row["image"] for row in rows) == sorted(
        path.relative_to(root).as_posix() for path in root.rglob("*.png")
    )
