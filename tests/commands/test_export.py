import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from lit_vision.commands import export as export_module
from lit_vision.models import Predictor, SmallCNN, TransferClassifier

USE_ONNX = """
import json, sys
import numpy as np, onnxruntime
assert not {"torch", "lit_vision"} & set(sys.modules)
session = onnxruntime.InferenceSession("x.onnx")
print(session.get_modelmeta().custom_metadata_map["class_names"])
np.save("out.npy", session.run(None, {"image": np.load("in.npy")})[0])
"""


def checkpoint(model, path="x.ckpt"):
    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    trainer.strategy.connect(model)
    trainer.save_checkpoint(path)
    return path


def small():
    torch.manual_seed(0)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    return SmallCNN(class_names=["ant", "bee", "cow"], image_size=20, mean=mean, std=std)


@pytest.mark.slow
def test_onnx_runs_without_torch_on_any_batch(cli, process):
    model = small()
    exported = cli(f"export --ckpt_path {checkpoint(model)} --format onnx")
    assert exported.code == 0, exported.err
    assert exported.out.startswith("checkpoint x.ckpt\nx.onnx: onnx of SmallCNN, classes ant, bee, cow; differs by ")
    image = torch.rand(7, 3, 20, 20)
    np.save("in.npy", image.numpy())
    result = process("-c", USE_ONNX)
    assert result.code == 0, result.err
    assert json.loads(result.out) == ["ant", "bee", "cow"]
    with torch.no_grad():
        normalised = (image - torch.tensor([0.4, 0.5, 0.6])[:, None, None]) / torch.tensor([0.2, 0.3, 0.4])[
            :, None, None
        ]
        expected = model.eval()(normalised).softmax(1)
    np.testing.assert_allclose(np.load("out.npy"), expected.numpy(), atol=1e-5)
    assert sorted(path.name for path in Path().iterdir()) == ["in.npy", "out.npy", "x.ckpt", "x.onnx"]


def test_torch_export_opens_alone(cli):
    model = small()
    line = f"export --ckpt_path {checkpoint(model)} --format torch_export --output made/x.pt2"
    exported = cli(line)
    assert exported.code == 0, exported.err
    extra = {"metadata.json": ""}
    program = torch.export.load("made/x.pt2", extra_files=extra)
    assert json.loads(json.loads(extra["metadata.json"])["class_names"]) == ["ant", "bee", "cow"]
    image = torch.rand(3, 3, 20, 20)
    torch.testing.assert_close(program.module()(image), Predictor(model)(image))


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["resnet18", "mobilenet_v2"])
def test_a_transfer_network_becomes_onnx(cli, arch):
    model = TransferClassifier(arch, weights=None, class_names=["ants", "bees"], image_size=64)
    assert "differs by at most" in cli(f"export --ckpt_path {checkpoint(model)} --format onnx").out


@pytest.mark.slow
def test_a_network_that_differs_is_refused(cli, monkeypatch):
    monkeypatch.setattr(export_module, "_MAX_DIFFERENCE", -1.0)
    result = cli(f"export --ckpt_path {checkpoint(small())} --format onnx")
    assert result.code == 2
    assert re.search(r"differs from the trained one by .*--format state_dict", result.err)
    assert result.err.count("\n") == 1
    assert not Path("x.onnx").exists()


@pytest.mark.slow
def test_a_missing_package_is_one_line(process):
    checkpoint(small())
    hide = (
        "import sys; sys.modules['onnxruntime'] = None; from lit_vision.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    result = process("-c", hide, "export", "--ckpt_path", "x.ckpt", "--format", "onnx")
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert "onnxruntime" in result.err
    assert "pip install 'lit-vision[onnx]'" in result.err


def test_export_without_a_checkpoint_is_refused(cli):
    result = cli("export --format state_dict")
    assert (result.code, "ckpt_path" in result.err) == (2, True)


def test_a_state_dict_opens_in_plain_torch(cli):
    model = small()
    exported = cli(f"export --ckpt_path {checkpoint(model)}")
    assert (exported.code, exported.err) == (0, "")
    state = torch.load("x.pth", weights_only=True)
    torch.testing.assert_close(state, dict(model.state_dict()), rtol=0, atol=0)


def test_the_predictor_gives_what_training_expects():
    model = small()
    uint8 = torch.randint(0, 256, (2, 3, 20, 20), dtype=torch.uint8)
    probability = Predictor(model)(uint8 / 255)
    torch.testing.assert_close(probability.sum(1), torch.ones(2))
    assert not any(parameter.requires_grad for parameter in Predictor(model).parameters())
