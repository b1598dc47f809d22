"""A network and data of one's own, in two files in the working folder."""

import shutil
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from helpers import EXECUTABLE, REPOSITORY, metrics_in, rows_of, run
from PIL import Image

pytestmark = pytest.mark.slow

NET = """
from pathlib import Path

from torch import Tensor, nn

from lit_vision.models import Classifier

Path(__file__).with_name("imported").touch()


class MyNet(Classifier):
    def __init__(self, hidden: int = 8, **kwargs) -> None:
        super().__init__(**kwargs)
        values = 3 * self.input_spec.image_size**2
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(values, hidden), nn.ReLU(), nn.Linear(hidden, len(self.class_names))
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)
"""
DATA = """
import torch

from lit_vision.data import ImageDataModule
from lit_vision.data.batch import LabelledImages


class MyData(ImageDataModule):
    class_names = ["dark", "light"]
    split_names = ["train", "test"]
    native_size = 8

    def load(self, split: str) -> LabelledImages:
        label = torch.arange({"train": 80, "test": 20}[split]) % 2
        return LabelledImages((40 + 160 * label)[:, None, None, None].expand(-1, 3, 8, 8).to(torch.uint8), label)
"""
LIGHT = (200, 200, 200)
FIT = "--model my_net.MyNet --data my_data.MyData --model.lr 0.02 --trainer.max_epochs 4 --trainer.accelerator cpu"
BEST = Path("lightning_logs/run/version_0/checkpoints/best.ckpt")
WAYS = {
    "executable": lambda command: [EXECUTABLE, command],
    "module": lambda command: [sys.executable, "-m", "lit_vision", command],
    "script": lambda command: [sys.executable, REPOSITORY / "scripts" / f"{command}.py"],
}


def start(way, line):
    command, *words = line.split()
    return run([*WAYS[way](command), *words])


def write_classes():
    Path("my_net.py").write_text(NET)
    Path("my_data.py").write_text(DATA)
    Image.new("RGB", (8, 8), LIGHT).save("x.png")


@pytest.fixture(scope="module")
def _fits():
    return {}


@pytest.fixture
def fit(_fits, tmp_path_factory):
    """Fit, started in one of the ways; each is done once, and its files are copied."""

    def run(way):
        write_classes()
        if way in _fits:
            shutil.copytree(_fits[way][0], "lightning_logs")
        else:
            result = start(way, f"fit {FIT} --model.hidden 6")
            _fits[way] = tmp_path_factory.mktemp("own") / "lightning_logs", result
            shutil.copytree("lightning_logs", _fits[way][0])
        Path("imported").unlink(missing_ok=True)
        return _fits[way][1]

    return run


@pytest.fixture
def trained(fit):
    """A folder with the classes and a run of theirs."""
    fit("executable")


@pytest.mark.parametrize("way", WAYS)
def test_fit(fit, way):
    result = fit(way)
    assert (result.code, result.err) == (0, "")
    assert "MyNet on MyData" in result.out
    assert len(rows_of(BEST.parents[1])) == 4
    assert float(rows_of(BEST.parents[1])[-1]["val/acc"]) == 1
    assert torch.load(BEST, weights_only=True)["hyper_parameters"]["hidden"] == 6


@pytest.mark.parametrize("way", ["executable", "module"])
def test_test(trained, way):
    tested = start(way, "test --ckpt_path best")
    assert (tested.code, tested.err) == (0, "")
    assert metrics_in(tested.out)["test/acc"] == 1
    assert (BEST.parent / "report" / "report.md").is_file()


@pytest.mark.parametrize("way", WAYS)
def test_predict(trained, way):
    result = start(way, "predict --ckpt_path best --images x.png --top 1")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("light ")


@pytest.mark.parametrize("way", ["executable", "module"])
def test_export(trained, way):
    exported = start(way, "export --ckpt_path best --output x.pth")
    assert (exported.code, exported.err) == (0, "")
    names = {f"layers.{layer}.{name}" for layer in (1, 3) for name in ("weight", "bias")}
    state = torch.load("x.pth", weights_only=True)
    assert state.keys() == names
    assert len(state["layers.1.bias"]) == 6


def test_export_to_onnx(trained):
    exported = start("module", "export --ckpt_path best --format onnx --output x.onnx")
    assert exported.code == 0, exported.err
    session = onnxruntime.InferenceSession("x.onnx")
    image = np.full((3, 3, 8, 8), LIGHT[0] / 255, dtype=np.float32)
    assert session.run(None, {"image": image})[0].argmax(1).tolist() == [1, 1, 1]


def test_resume(trained):
    result = start("executable", "fit --ckpt_path last --trainer.max_epochs 5")
    assert (result.code, result.err) == (0, "")
    assert "epoch 5/5" in result.out
    assert len(rows_of(BEST.parents[1])) == 5


ONE_AFTER_ANOTHER = """
import pathlib, sys
from lit_vision.cli import main
for line in sys.argv[1:]:
    code = main(line.split())
    print(code, pathlib.Path("imported").exists())
"""


def test_a_checkpoint_that_left_its_run_imports_nothing_by_itself(trained, process):
    BEST.rename("away.ckpt")
    predict, export = "predict --ckpt_path away.ckpt --images x.png --top 1", "export --ckpt_path away.ckpt"
    allowed = [f"{line} --model my_net.MyNet" for line in (predict, export)]
    result = process("-c", ONE_AFTER_ANOTHER, predict, export, *allowed)
    assert len(result.err.splitlines()) == 2
    for line in result.err.splitlines():
        assert "--model my_net.MyNet" in line
    refused_predict, refused_export, guess, _, predicted, _, _, exported = result.out.splitlines()
    assert refused_predict == refused_export == "2 False"
    assert guess.startswith("light ")
    assert predicted == exported == "0 True"
    assert Path("away.pth").is_file()
