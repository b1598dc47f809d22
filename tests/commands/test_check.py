"""lit-vision check, and --data.exclude."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import RUN, TINY
from PIL import Image

pytestmark = pytest.mark.slow

CHECK = "check --data ImageFolderDataModule --data.image_size 32 --model SmallCNN --data.root pictures"


def photo(seed):
    generator = torch.Generator().manual_seed(seed)
    parts = [torch.nn.functional.interpolate(torch.rand(1, 3, n, n, generator=generator), 96) for n in (3, 6, 12)]
    return Image.fromarray((sum(parts)[0] / 3 * 255).byte().permute(1, 2, 0).numpy())


@pytest.fixture
def data():
    """Different pictures of two classes in two splits."""
    seed = 0
    for split, count in (("train", 12), ("val", 6)):
        for name in ("cat", "dog"):
            folder = Path("pictures") / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                seed += 1
                photo(seed).save(folder / f"{number}.png")
    return Path("pictures")


def findings(folder="check"):
    with (Path(folder) / "findings.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_clean_set_has_no_findings(cli, data):
    result = cli(CHECK)
    assert (result.code, result.err) == (0, "")
    assert "images     36 of 2 classes: train 24, val 12" in result.out
    assert "broken     none" in result.out
    assert "copies     none" in result.out
    assert "labels     not checked: that needs a pretrained network" in result.out
    assert findings() == []
    assert {path.name for path in Path("check").iterdir()} == {"report.md", "findings.csv", "counts.png"}


def test_broken_files_and_copies_are_all_found(cli, data):
    (data / "train/cat/0.png").write_bytes((data / "train/cat/0.png").read_bytes()[:300])
    (data / "val/dog/1.png").write_text("no image")
    shutil.copy(data / "train/cat/2.png", data / "val/cat/copy.png")  # leakage
    shutil.copy(data / "train/cat/3.png", data / "train/cat/copy.png")
    Image.open(data / "train/dog/4.png").resize((60, 60)).save(data / "val/dog/small.jpg", quality=70)
    shutil.copy(data / "train/dog/5.png", data / "train/cat/wrong.png")
    result = cli(CHECK)
    assert (result.code, result.err) == (1, "")
    assert "broken     2: train/cat/0.png, val/dog/1.png" in result.out
    assert "3 exact, 1 near, 0 mirrored; 2 in two splits (leakage), 1 with different labels" in result.out
    found = {(row["image"], row["finding"], row["other"]) for row in findings() if row["exclude"]}
    assert found == {
        ("train/cat/0.png", "broken", ""),
        ("val/dog/1.png", "broken", ""),
        ("train/cat/2.png", "exact copy", "val/cat/copy.png"),
        ("train/cat/copy.png", "exact copy", "train/cat/3.png"),
        ("train/dog/4.png", "near copy", "val/dog/small.jpg"),
        ("train/dog/5.png", "exact copy", "train/cat/wrong.png"),
        ("train/cat/wrong.png", "exact copy", "train/dog/5.png"),
    }
    assert "check/copies.png" in {str(path) for path in Path("check").iterdir()}
    fit = "fit --config folder.yaml --data.root pictures --trainer.max_epochs 1"
    assert cli(fit).code == 2
    result = cli(f"{fit} --data.exclude check/findings.csv")
    assert result.code == 0, result.err
    assert "train: 20 images of 2 classes" in result.out
    assert "val: 13 images of 2 classes" in result.out
    assert "left out: excluded: 7 (" in result.out
    refused = cli(f"{CHECK} --data.exclude check/findings.csv")
    assert refused.code == 2
    assert "check/findings.csv would be written anew" in refused.err
    before = Path("check/findings.csv").read_text()
    assert cli(CHECK).code == 1
    assert Path("check/findings_before.csv").read_text() == before
    again = cli(f"{CHECK} --data.exclude check/findings.csv --output again")
    assert again.code == 0
    assert findings("again") == []


def test_an_edited_table_is_taken_as_it_is(cli, data):
    rows = [("x", "train/cat/1.png"), ("", "train/cat/2.png"), (" ", "val/dog/0.png"), ("yes", "val/dog/3.png")]
    Path("edited.csv").write_text("exclude,image\n" + "".join(f"{mark},{name}\n" for mark, name in rows))
    fit = "fit --config folder.yaml --data.root pictures --trainer.max_epochs 1 --data.exclude"
    result = cli(f"{fit} edited.csv")
    assert "train: 23 images" in result.out
    assert "val: 11 images" in result.out
    Path("plain.csv").write_text("image\ntrain/cat/1.png\n")
    assert "train: 23 images" in cli(f"{fit} plain.csv").out
    for name, content, message in (
        ("unknown.csv", "image\ntrain/cat/99.png\n", "names images that the data does not have: train/cat/99.png"),
        ("other.csv", "file\ntrain/cat/1.png\n", "has no column image"),
    ):
        Path(name).write_text(content)
        result = cli(f"{fit} {name}")
        assert (result.code, result.err.count("\n")) == (2, 1)
        assert message in result.err
    assert "cannot be read" in cli(f"{fit} missing.csv").err


def test_images_without_files_are_excluded_by_position(cli):
    Path("table.csv").write_text("image\ntrain/0\ntrain/5\ntest/3\n")
    result = cli(f"{TINY} --trainer.max_epochs 1 --data.exclude table.csv")
    assert "train: 298 images" in result.out  # of 300, and 100 are held out
    assert "left out: excluded: 3" in result.out
    assert cli("test --ckpt_path last").out.count("test: 1,999 images") == 1
    with (RUN / "checkpoints" / "report" / "predictions.csv").open() as file:
        names = [row["image"] for row in csv.DictReader(file)]
    assert "test/3" not in names
    assert names[3] == "test/4"
    Path("table.csv").write_text("image\ntrain/400\n")
    result = cli(f"{TINY} --data.exclude table.csv")
    assert result.code == 2
    assert "names images that the data does not have: train/400" in result.err
    Path("table.csv").write_text("image\nother/1\n")
    assert cli(f"{TINY} --data.exclude table.csv").code == 2


def test_held_out_images_are_a_split_of_their_own(cli, data):
    for number in range(10):
        shutil.copy(data / f"train/cat/{number}.png", data / f"train/cat/copy{number}.png")
    result = cli(f"{CHECK} --data.val_size 0.3 --data.splits", "{train: train}")
    assert result.code == 1
    assert "in two splits (leakage)" in result.out
    splits = {(row["image"], row["split"]) for row in findings()}
    assert {split for _, split in splits} <= {"train", "val"}


def test_labels_are_checked_with_the_features_of_a_network(cli, folders, monkeypatch):
    root = folders({"train": {"red": 40, "blue": 40}})
    rng = np.random.default_rng(0)
    for path in root.rglob("*.png"):  # no two are alike
        noise = rng.integers(0, 60, (32, 32, 3))
        Image.fromarray((np.asarray(Image.open(path)) // 2 + noise).astype(np.uint8)).save(path)
    (root / "train/red/0.png").rename(root / "train/blue/wrong.png")
    line = f"check --data ImageFolderDataModule --data.root {root} --data.image_size 32 --model TransferClassifier"
    torch.manual_seed(0)
    from torchvision.models import resnet18

    torch.save(resnet18().state_dict(), "weights.pth")
    result = cli(f"{line} --model.weights weights.pth")
    assert result.code == 0, result.err
    labels = [row for row in findings() if row["finding"] == "label"]
    assert labels[0]["image"] == "train/blue/wrong.png"
    assert labels[0]["suggestion"] == "red"
    assert labels[0]["exclude"] == ""
    assert len(labels) < 10
    assert Path("check/labels.png").is_file()
