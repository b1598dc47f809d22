"""How images are prepared: as the weights expect, as the checkpoint says, as the options say."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from helpers import metrics_in, rows_of
from torchvision import models

from lit_vision.models import Classifier, InputSpec

pytestmark = pytest.mark.slow
RUN = Path("lightning_logs/run/version_0")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture
def line(folders):
    root = folders({"train": {"red": 6, "blue": 6}, "val": {"red": 3, "blue": 4}}, size=48)
    return (
        f"fit --model TransferClassifier --data ImageFolderDataModule --data.root {root} --data.batch_size 4 "
        "--trainer.accelerator cpu --trainer.max_epochs 1 "
    )


def spec_of(run):
    return Classifier.load_from_checkpoint(run / "checkpoints" / "last.ckpt").input_spec


@pytest.fixture
def weights(tmp_path):
    def save(arch, name="x.pth"):
        torch.save(models.get_model(arch, weights=None).state_dict(), path := tmp_path / name)
        return path

    return save


def test_the_input_is_that_of_the_weights(line, cli, weights):
    line += f"--model.arch mobilenet_v2 --model.weights {weights('mobilenet_v2')} --data.input pretrained"
    fitted = cli(line)
    assert fitted.code == 0, fitted.err
    assert "of mobilenet_v2 expect them: image_size 224, mean [0.485, 0.456, 0.406]" in fitted.out + fitted.err
    assert spec_of(RUN) == InputSpec(224, *IMAGENET, 232)
    saved = yaml.safe_load((RUN / "config.yaml").read_text())["data"]["init_args"]
    assert (saved["input"], saved["mean"], saved["image_size"]) == ("pretrained", None, None)
    row = rows_of(RUN)[-1]
    validated = metrics_in(cli("validate --ckpt_path last").out)
    assert validated == {"val/acc": float(row["val/acc"]), "val/loss": float(row["val/loss"])}
    assert cli("fit --ckpt_path last --trainer.max_epochs 2").code == 0
    assert spec_of(RUN) == InputSpec(224, *IMAGENET, 232)
    assert cli("export --ckpt_path last --format state_dict --output plain.pth").code == 0


def test_options_win_and_another_size_shows_the_same_part(line, cli, weights):
    file = weights("mobilenet_v2", "mobilenet_v2-b0353104.pth")  # torchvision's name for weights trained on 256 pixels
    line += f"--model.arch mobilenet_v2 --model.weights {file} --data.input pretrained --data.image_size 56"
    fitted = cli(line + " --data.std 0.5")
    assert fitted.code == 0, fitted.err
    assert spec_of(RUN) == InputSpec(56, IMAGENET[0], (0.5, 0.5, 0.5), 64)


def test_a_checkpoint_that_is_started_from_brings_its_input(line, cli):
    first = "--model.weights null --data.image_size 48 --data.resize 50 --data.mean 0.3 --data.std 0.2"
    assert cli(f"{line} {first}").code == 0
    again = cli(f"{line} --model.weights {RUN / 'checkpoints' / 'last.ckpt'} --data.input pretrained")
    assert again.code == 0, again.err
    assert spec_of(RUN.with_name("version_1")) == spec_of(RUN) == InputSpec(48, (0.3,) * 3, (0.2,) * 3, 50)


def test_timm_brings_its_input(line, cli):
    pytest.importorskip("timm")
    fitted = cli(f"{line} --model.arch timm/test_vit --model.weights null --model.unfreeze 2")
    assert fitted.code == 0, fitted.err
    assert spec_of(RUN) == InputSpec(160, (0.5,) * 3, (0.5,) * 3, 168)
    assert "stage 1 | blocks." in fitted.out + fitted.err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("--model SmallCNN --data.input pretrained", "input pretrained needs a pretrained network, unlike SmallCNN"),
        ("--model.weights null --data.input pretrained", "input pretrained needs pretrained weights"),
        ("--data.input something", "--data.input"),
        ("--data.resize 40 --data.image_size 48", "resize 40 is smaller than the images (48): raise --data.resize"),
        ("--data.resize 40", "resize 40 needs a size: set --data.image_size"),
        ("--model.arch timm/resnet10t --model.weights DEFAULT1", "weights DEFAULT1 is neither a file nor known"),
    ],
)
def test_bad_input(line, cli, more, words):
    result = cli(f"{line} {more}")
    assert result.code == 2
    assert words in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert not RUN.exists()


def test_predict_and_export_crop_as_the_data_did(line, cli, folders):
    assert cli(f"{line} --model.weights null --data.image_size 32 --data.resize 40").code == 0
    image = next(Path(line.split("--data.root ")[1].split()[0]).rglob("*.png"))
    assert cli(f"predict --ckpt_path last --images {image}").code == 0
    assert cli("export --ckpt_path last --format torch_export --output x.pt2").code == 0
    extra = {"metadata.json": ""}
    torch.export.load("x.pt2", extra_files=extra)
    assert json.loads(json.loads(extra["metadata.json"])["resize"]) == 40
