"""A checkpoint says what made it."""

import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from helpers import RUN, TINY

from lit_vision.utils.provenance import commit_of, hash_of_network

pytestmark = pytest.mark.slow
LAST = RUN / "checkpoints" / "last.ckpt"


def facts(out):
    """The facts that show prints, by name; wrapped lines are joined."""
    found = {}
    for line in out.splitlines():
        if not line.startswith(" "):
            name, _, value = line.partition("  ")
            found[name] = value.strip()
        else:
            found[name] += f" {line.strip()}"
    return found


def test_show_prints_what_the_checkpoint_holds(cli, fitted):
    fitted(f"{TINY} --trainer.max_epochs 1 --trainer.accelerator cpu")
    result = cli("show last")
    assert result.code == 0, result.err
    shown = facts(result.out)
    assert str(LAST) in shown["checkpoint"]
    assert shown["model"] == "lit_vision.models.small_cnn.SmallCNN, 66,722 values"
    assert shown["classes"].startswith("10: bar, corner")
    assert "image_size 32, resize stretch" in shown["input"]
    assert "optimizer sgd, lr 0.01" in shown["options"]
    assert "1 epoch" in shown["trained"]
    assert re.search(r"val/acc 0\.\d+", shown["figures"])
    assert f"torch {torch.__version__.partition('+')[0]}" in shown["made by"]
    assert "seed 0" in shown["made by"]
    assert "module ShapesDataModule, images 300" in shown["data"]
    entries = yaml.safe_load((RUN / "provenance.yaml").read_text())
    assert entries == torch.load(LAST, weights_only=True)["provenance"]
    assert len(entries) == 1


def test_a_run_that_goes_on_has_an_entry_for_each_start(cli, fitted):
    fitted(f"{TINY} --trainer.max_epochs 1 --trainer.accelerator cpu")
    assert cli("fit --ckpt_path last --trainer.max_epochs 2").code == 0
    first, second = torch.load(LAST, weights_only=True)["provenance"]
    assert (first["from_step"], second["from_step"]) == (0, 10)
    assert len(yaml.safe_load((RUN / "provenance.yaml").read_text())) == 2


def test_the_report_of_a_test_says_what_trained_the_network(cli, fitted):
    fitted(f"{TINY} --trainer.max_epochs 1 --trainer.accelerator cpu")
    assert cli("test --ckpt_path last").code == 0
    report = (RUN / "checkpoints" / "report" / "report.md").read_text()
    assert "trained by: `date" in report
    assert "trained on: `module ShapesDataModule, images 300" in report


def test_the_hash_is_that_of_the_backbone_before_it_was_trained(cli):
    from lit_vision.models import TransferClassifier

    torch.save(TransferClassifier("mobilenet_v3_small", weights=None).backbone.state_dict(), "weights.pth")
    line = "fit --config hymenoptera.yaml --model.arch mobilenet_v3_small --model.weights weights.pth --name run"
    data = "--data ShapesDataModule --data.train_size 40 --data.test_size 20 --data.image_size 64"
    more = "--trainer.max_epochs 1 --model.unfreeze all --model.optimizer adamw"
    assert cli(f"{line} {data} {more}").code == 0
    last = Path("lightning_logs/run/version_0/checkpoints/last.ckpt")
    (entry,) = torch.load(last, weights_only=True)["provenance"]
    start = TransferClassifier("mobilenet_v3_small", weights="weights.pth")
    assert entry["backbone"] == hash_of_network(start.backbone)
    assert entry["backbone"] != hash_of_network(TransferClassifier.load_from_checkpoint(last).backbone)


def test_a_test_on_training_images_is_named(cli, tmp_path):
    from PIL import Image

    for number in range(60):
        split, name = ("train", "ab"[number % 2])
        path = tmp_path / "pictures" / split / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((32, 32), number + 1).convert("RGB").save(path)
    test = tmp_path / "pictures" / "test"
    for number in range(12):  # under other names
        target = test / "ab"[number % 2] / f"copy{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        if number < 5:
            shutil.copy(tmp_path / "pictures" / "train" / "ab"[number % 2] / f"{number}.png", target)
        else:
            Image.effect_noise((32, 32), 500 + number).convert("RGB").save(target)
    data = "--data ImageFolderDataModule --data.root pictures --data.val_size 0.2 --data.image_size 32"
    assert cli(f"fit --config shapes.yaml --trainer.max_epochs 1 --name run {data}").code == 0
    held_out = [line for line in cli("validate --ckpt_path last").out.splitlines() if "among those" in line]
    assert not held_out
    (line,) = [line for line in cli("test --ckpt_path last").out.splitlines() if "among those" in line]
    count = int(re.search(r"test: (\d) of 12 images are among those", line)[1])
    assert 2 <= count <= 5  # some of the five may be held out


def test_show_refuses_what_is_no_checkpoint(cli):
    Path("x.ckpt").write_text("x")
    for word in ("x.ckpt", "none.ckpt", "best"):
        result = cli(f"show {word}")
        assert result.code == 2
        assert len(result.err.splitlines()) == 1


def test_the_commit_of_a_repository(tmp_path):
    git = tmp_path / ".git"
    (git / "refs/heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    assert commit_of(tmp_path) is None
    (git / "packed-refs").write_text(f"# pack-refs\n{'b' * 40} refs/heads/main\n")
    assert commit_of(tmp_path) == "b" * 40
    (git / "refs/heads/main").write_text("a" * 40 + "\n")
    assert commit_of(tmp_path) == "a" * 40
    (git / "HEAD").write_text("c" * 40)
    assert commit_of(tmp_path) == "c" * 40
    assert commit_of(tmp_path / "none") is None
