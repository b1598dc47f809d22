"""Bad input gets exit code 2 and one line that names the culprit and the remedy; no traceback, no files."""

from pathlib import Path

import pytest
import torch

CIFAR = "fit --config cifar.yaml --trainer.accelerator cpu"
SHAPES = (
    "fit --config shapes.yaml --trainer.accelerator cpu --data.train_size 100 --data.val_size 20 --trainer.max_epochs 1"
)
FOLDER = f"{CIFAR} --data ImageFolderDataModule --data.val_size 0 --data.root images"
TWO = {"red": 4, "blue": 4}


def refused(result, *words):
    assert result.code == 2
    assert len(result.err.splitlines()) == 1, result.err
    for word in words:
        assert word in result.err
    assert "Traceback" not in result.out + result.err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", ["fit", "validate", "test"]),
        ("train", ["invalid choice: 'train'", "fit"]),
        ("fit --config nosuch.yaml", ["nosuch.yaml", "cifar.yaml", "shapes.yaml"]),
        ("fit --config", ["--config"]),
        ("fit --model.lrr 0.1", ["SmallCNN", "lrr", "did you mean lr?"]),
        ("fit --data.val_sise 3", ["ShapesDataModule", "did you mean val_size?"]),
        ("fit --trainr.max_epochs 3", ["did you mean --trainer.max_epochs?"]),
        ("fit --model.lr fast", ["lr", "float", "fast"]),
        ("fit --model.activation Swish", ["activation", "ReLU", "Swish"]),
        ("fit --config shapes.yaml --model SmalCNN", ["SmalCNN"]),
        ("fit --trainer.max_epochs many", ["trainer.max_epochs", "int", "many"]),
        ("fit --data.augment [flop]", ["flip", "flop"]),
        ("fit --trainer.accelerator cuda --trainer.devices 99", ["--trainer"]),
        (f"{SHAPES} --data.image_size 12", ["12", "--data.image_size to 16"]),
        (f"{SHAPES} --data.val_size 100", ["val_size 100", "100 images", "--data.val_size"]),
        (f"{SHAPES} --data.batch_size 0", ["batch_size 0"]),
        (f"{SHAPES} --model.kernel_size 0", ["kernel_size"]),
        (f"{SHAPES} --model.weights nosuch.pth", ["nosuch.pth"]),
        ("fit --model.lr -1", ["lr -1"]),
        ("fit --seed_everything -1", ["--seed_everything"]),
        ("fit --trainer.strategy foo", ["foo", "--trainer"]),
        ("fit --trainer.accelerator foo", ["foo", "--trainer"]),
        ("fit --data.num_workers -1", ["num_workers -1"]),
        ("fit --model.image_size 64", ["--model.image_size", "--data"]),
        ("fit --trainer.max_epo 3", ["--trainer.max_epo", "did you mean --trainer.max_epochs?"]),
        ("fit --name ../x", ["../x", "--name"]),
        ("fit --data ImageFolderDataModule", ["--config", "folder.yaml"]),
        ("fit --config file", ["file is no config"]),
        (f"{SHAPES} --trainer.default_root_dir /proc/nosuch", ["/proc/nosuch", "--trainer.default_root_dir"]),
        (f"{SHAPES} --trainer.default_root_dir file", ["file", "--trainer.default_root_dir"]),
        (f"{CIFAR} --data.url foo", ["foo", "--data.url"]),
        ("fit --config hymenoptera.yaml --model.weights null --model.arch resnet81", ["resnet81", "resnet18"]),
        (
            "fit --config hymenoptera.yaml --model.weights null --model.arch squeezenet1_0",
            ["squeezenet1_0", "no Linear"],
        ),
        ("fit --config hymenoptera.yaml --model.weights nosuch.pth", ["nosuch.pth", "DEFAULT"]),
        ("fit --config folder.yaml --data ImageTableDataModule --data.root .", ["images.csv", "--data.table"]),
        ("export --ckpt_path nosuch.ckpt", ["nosuch.ckpt"]),
        ("export --format onxx", ["format", "state_dict"]),
        ("validate", ["--ckpt_path"]),
        ("test --config shapes.yaml", ["--ckpt_path"]),
        ("validate --ckpt_path nosuch.ckpt", ["nosuch.ckpt"]),
        ("validate --ckpt_path best", ["lightning_logs", "train first"]),
        (f"{CIFAR} --data.url http://127.0.0.1:1/x.tar.gz", ["127.0.0.1:1", "--data.url", "--data.root"]),
        (f"{CIFAR} --data.root file", ["file", "is a file", "--data.root"]),
        (f"{CIFAR} --data.root /proc/nosuch", ["/proc/nosuch", "cannot be written", "--data.root"]),
        (f"{CIFAR} --data ImageFolderDataModule --data.root nosuch", ["nosuch does not exist", "--data.root"]),
        (f"{CIFAR} --data ImageFolderDataModule --data.root file", ["file is no folder", "--data.root"]),
    ],
)
def test_command_lines(cli, line, words):
    Path("file").touch()
    refused(cli(line), *words)
    left = {str(path) for path in Path().rglob("*") if not path.is_dir()}
    assert left == {"file"}
    assert not Path("lightning_logs").exists() or not list(Path("lightning_logs").rglob("version_*"))


def test_config_that_is_no_yaml_or_has_an_unknown_key(cli):
    Path("broken.yaml").write_text("model:\n  class_path: SmallCNN\n init_args: {}\n")
    refused(cli("fit --config broken.yaml"), "broken.yaml", "YAML")
    Path("unknown.yaml").write_text("modl: {class_path: SmallCNN}\n")
    refused(cli("fit --config unknown.yaml"), "modl")


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        ({"train": {}}, ["images/train", "no class folders"]),
        ({"train": {"red": 4}, "val": {"red": 4}}, ["one class", "'red'"]),
        ({"train": {**TWO, "green": 0}, "val": TWO}, ["train/green", "no images"]),
        ({"train": TWO, "val": {**TWO, "green": 1}}, ["val", "'green'", "train lacks"]),
        ({"train": TWO, "val": {"red": 4, "blue": 0}}, ["val/blue", "no images"]),
        ({"val": TWO, "test": TWO}, ["none named train"]),
        ({".": TWO}, ["--data.val_size"]),
    ],
)
def test_folders(cli, folders, splits, words):
    folders(splits)
    for split, classes in splits.items():
        for name in classes or [""]:
            Path("images", split, name).mkdir(parents=True, exist_ok=True)
    refused(cli(FOLDER), *words)
    assert not list(Path().rglob("version_*"))


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n\x00\x00"])
@pytest.mark.parametrize("more", ["", " --data.memory_budget 0"])
def test_unreadable_images_are_named(cli, folders, content, more):
    folders({"train": TWO, "val": TWO})
    Path("images/train/red/bad one.png").write_bytes(content)
    refused(cli(FOLDER + more), "images/train/red/bad one.png", "cannot read")
    assert not list(Path().rglob("version_*"))


def test_images_of_several_sizes(cli, folders):
    folders({"train": TWO, "val": TWO})
    folders({"val": {"red": 5}}, size=40)
    refused(cli(FOLDER), "40x40", "--data.image_size")


def test_checkpoints(cli):
    assert cli(SHAPES).code == 0
    run = Path("lightning_logs/shapes/version_0")
    best = run / "checkpoints" / "best.ckpt"
    before = sorted(Path().rglob("*"))
    refused(cli(f"validate --ckpt_path {best} --model.hidden [10,10]"), "layer1.weight", "another network")
    refused(cli(f"fit --ckpt_path {best} --model.hidden [10,10] --trainer.max_epochs 2"), "layer1.weight")
    assert sorted(Path().rglob("*")) == before
    moved = Path("moved.ckpt")
    moved.write_bytes(best.read_bytes())
    refused(cli("validate --ckpt_path moved.ckpt"), "moved.ckpt", "--config")
    assert cli(f"validate --config {run / 'config.yaml'} --ckpt_path moved.ckpt").code == 0
    best.write_bytes(best.read_bytes()[:5000])
    refused(cli("validate --ckpt_path best"), "best.ckpt")
    torch.save({"state_dict": {}}, best)
    refused(cli("validate --ckpt_path best"), "best.ckpt")


def test_debug_shows_the_traceback(process):
    result = process("-m", "lit_vision", "validate", LIT_VISION_DEBUG="1")
    assert result.code != 0
    assert "Traceback" in result.err
