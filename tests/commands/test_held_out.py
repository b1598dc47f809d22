"""The held-out images of a run stay held out, whatever the command line and the folder become."""

import shutil
from pathlib import Path

import pytest
import torch
from helpers import metrics_in
from PIL import Image

from lit_vision.data import ImageFolderDataModule

LAST = "lightning_logs/folder/version_0/checkpoints/last.ckpt"
FIT = (
    "fit --config folder.yaml --data.root images --data.image_size 16 --trainer.accelerator cpu --trainer.max_epochs 1 "
    "--data.val_size 0.25 --trainer.enable_model_summary false"
)


def val_images(root, state, **options):
    """The pixels of the images that a data module with a checkpoint's state validates on, and trains on."""
    data = ImageFolderDataModule(root, **options)
    data.load_state_dict(state)
    data.setup("fit")
    loaders = data.val_dataloader(), data.train_dataloader()
    return [{image.numpy().tobytes() for batch in loader for image in batch.image} for loader in loaders]


@pytest.fixture
def trained(folders, fitted):
    root = folders({".": {"red": 12, "green": 8}}, size=16)
    result = fitted(FIT)
    checkpoint = torch.load(LAST, weights_only=True)
    return root, result, checkpoint["ImageFolderDataModule"]


def test_the_first_lines_say_what_is_used(trained):
    lines = trained[1].out.splitlines()
    assert "train: 15 images of 2 classes (green, red)" in lines
    assert "val: 5 images of 2 classes (green, red)" in lines
    assert lines.index("val: 5 images of 2 classes (green, red)") < 5


@pytest.mark.parametrize("seed", [0, 2])
def test_validate_uses_the_runs_held_out_images_under_any_seed(trained, cli, seed):
    found = metrics_in(trained[1].out.replace("val_", "val/").replace("acc ", "acc  "))
    result = cli(f"validate --ckpt_path last --seed_everything {seed}")
    assert result.code == 0, result.err
    assert "val: 5 images of 2 classes" in result.out
    assert metrics_in(result.out)["val/acc"] == pytest.approx(found["val/acc"], abs=1e-4)


def test_no_image_changes_sides_when_others_come_and_go(trained):
    root, _, state = trained
    options = {"image_size": 16, "val_size": 0.25}
    held_out, others = val_images(root, state, **options)
    assert held_out
    assert not held_out & others
    for number in range(40):
        Image.new("RGB", (16, 16), (number, 7, 7)).save(root / "red" / f"new {number}.png")
    (root / "red" / "1.png").rename(root / "red" / "renamed.png")  # which is another image from now on
    (root / "green" / "0.png").unlink()
    renamed = bytes([250] * 256 + [0] * 512)
    for seed in (0, 5):
        now_held_out, now_others = val_images(root, state, **options, seed=seed)
        assert len(now_held_out | now_others) == 59
        assert not now_held_out & (others - {renamed})
        assert not now_others & (held_out - {renamed})


def test_a_run_that_goes_on_keeps_its_held_out_images(trained, cli):
    root, _, state = trained
    for number in range(10):
        Image.new("RGB", (16, 16), (number, 7, 7)).save(root / "green" / f"new {number}.png")
    result = cli("fit --ckpt_path last --seed_everything 3 --trainer.max_epochs 2")
    assert result.code == 0, result.err
    newest = max(Path("lightning_logs/folder").rglob("last.ckpt"), key=lambda path: path.stat().st_mtime)
    assert torch.load(newest, weights_only=True)["ImageFolderDataModule"]["thresholds"] == state["thresholds"]


@pytest.mark.parametrize(
    "line",
    [
        "validate --ckpt_path last --data.val_size 3",
        "validate --ckpt_path last --data.val_seed 1",
        "fit --ckpt_path last --trainer.max_epochs 2 --data.val_size 0.5",
        "fit --ckpt_path last --trainer.max_epochs 2 --data.val_size 0",
    ],
)
def test_another_choice_is_refused(trained, cli, line):
    result = cli(line)
    assert result.code == 2
    assert "would move images between training and validation" in result.err
    assert result.err.count("\n") == 1


def test_what_was_trained_on_is_not_tested(folders, cli):
    folders({".": {"red": 12, "green": 8}}, size=16)
    assert cli(FIT).code == 0
    result = cli("test --ckpt_path last")
    assert result.code == 2
    assert "no test images" in result.err


@pytest.mark.parametrize(
    "layout", [{".": {"red": 3}}, {"test": {"red": 3}}, {"Testing": {"red": 1, "green": 2}}, {"test": {"green": 3}}]
)
def test_evaluation_takes_its_classes_from_the_checkpoint(trained, folders, cli, layout):
    folders(layout, name="others", size=20)
    result = cli("test --ckpt_path last --data.root others")
    assert result.code == 0, result.err
    assert "test: 3 images" in result.out


def test_a_run_that_goes_on_with_other_images_does_not_validate_on_them(folders, cli):
    folders({"train": {"red": 4, "green": 4}, "val": {"red": 2, "green": 2}}, size=16)
    assert cli(FIT.replace(" --data.val_size 0.25", "")).code == 0
    folders({".": {"red": 5, "green": 3}}, name="others", size=20)
    line = "--ckpt_path last --data.root others"
    result = cli(f"fit {line} --trainer.max_epochs 2")
    assert result.code == 2
    assert "no images for validation" in result.err
    assert "val: 8 images" in cli(f"validate {line}").out


def test_a_class_that_the_checkpoint_does_not_know_is_named(trained, folders, cli):
    folders({"test": {"red": 3, "purple": 1}}, name="others", size=16)
    result = cli("test --ckpt_path last --data.root others")
    assert result.code == 2
    assert "purple" in result.err
    assert result.err.count("\n") == 1


def test_a_trainer_from_python_holds_out_the_same_images(trained):
    from lit_vision.models import Classifier
    from lit_vision.trainer import make_trainer

    root, _, state = trained
    shutil.rmtree("elsewhere", ignore_errors=True)
    data = ImageFolderDataModule(root, image_size=16, val_size=0.25, seed=9)
    model = Classifier.load_from_checkpoint(LAST)
    trainer = make_trainer(max_epochs=2, accelerator="cpu", default_root_dir="elsewhere", enable_model_summary=False)
    for number in range(30):
        Image.new("RGB", (16, 16), (number, 7, 7)).save(root / "green" / f"new {number}.png")
    trainer.fit(model, data, ckpt_path=LAST, weights_only=True)
    assert data.state_dict()["thresholds"] == state["thresholds"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda: Path("images/train/red/0.png").unlink(), "5 instead of 6"),
        (lambda: Path("images/train/red/0.png").rename("images/train/red/new.png"), "other names"),
        (lambda: Image.new("RGB", (16, 16)).save("images/train/red/0.png"), "other content"),
        (lambda: Path("images/train/red").rename("images/train/x"), "other content"),
    ],
)
def test_a_run_that_goes_on_with_other_images_says_so(folders, cli, change, words):
    folders({"train": {"red": 3, "green": 3}, "val": {"red": 2, "green": 2}}, size=16)
    assert cli(FIT.replace(" --data.val_size 0.25", "")).code == 0
    line = "fit --ckpt_path last --trainer.max_epochs"
    assert "training images are not" not in cli(f"{line} 2").out
    change()
    if Path("images/train/x").is_dir():  # the labels are swapped
        Path("images/train/green").rename("images/train/red")
        Path("images/train/x").rename("images/train/green")
    result = cli(f"{line} 3")
    assert result.code == 0, result.err
    assert result.out.count(f"the training images are not those of the checkpoint: {words}") == 1


@pytest.mark.parametrize("change", ["swapped", "repainted"])
def test_an_epoch_that_was_interrupted_does_not_go_on_with_other_images(cli, folders, interrupted, change):
    root = folders({"train": {"red": 30, "blue": 30}, "val": {"red": 4, "blue": 4}}, size=16)
    line = "fit --config folder.yaml --data.root images --data.image_size 16 --data.batch_size 4 --trainer.max_epochs 2"
    assert interrupted(7, line).code == 130
    one, other = root / "train/red/0.png", root / "train/red/9.png"
    if change == "swapped":
        one.rename(root / "x.png"), other.rename(one), (root / "x.png").rename(other)
    else:
        Image.new("RGB", (16, 16), "white").save(one)
    result = cli("fit --ckpt_path last --trainer.callbacks null")
    assert result.code == 2
    (error,) = result.err.splitlines()
    assert "cannot continue with other training images (other content)" in error
