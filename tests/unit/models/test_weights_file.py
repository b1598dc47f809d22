from pathlib import Path

import pytest
import torch
from model_helpers import NAMES, SIZE, small, transfer
from torchvision import models

from lit_vision.errors import UserError
from lit_vision.models import SmallCNN, TransferClassifier
from lit_vision.models.checkpoint import class_path
from lit_vision.models.weights_file import is_checkpoint, read_weights


def save(model, path="x.ckpt"):
    content = {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}
    torch.save({**content, "model_class": class_path(type(model))}, path)
    return path


@pytest.mark.parametrize("wrap", ["", "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_weights_are_found_as_programs_save_them(wrap, prefix):
    state = {f"{prefix}{name}": tensor for name, tensor in small().state_dict().items()}
    torch.save({wrap: state, "epoch": 3} if wrap else state, "x.pth")
    assert not is_checkpoint("x.pth")
    model = small(weights="x.pth")
    assert model.trained
    assert all(torch.equal(tensor, state[f"{prefix}{name}"]) for name, tensor in model.state_dict().items())


def test_a_checkpoint_knows_its_classes(caplog):
    before = small()
    path = save(before)
    assert is_checkpoint(path)
    assert not read_weights(path).has_other_classes(NAMES)
    assert small(weights=path).trained
    assert not caplog.records
    for names in (["b", "a", "c"], ["a", "b", "d"], ["a", "b"]):
        model = SmallCNN(class_names=names, image_size=16, weights=path)
        assert not model.trained
        assert f"knows the classes a, b, c instead of {', '.join(names)}" in caplog.text
        assert torch.equal(model.layer2.weight, before.layer2.weight)
        assert model.layer_out.weight.shape[0] == len(names)
        assert not torch.equal(model.layer_out.weight[:2], before.layer_out.weight[:2])


def test_another_normalisation_is_said(caplog):
    small(weights=save(small()), mean=(0.1, 0.1, 0.1))
    assert "trained with mean [0.5, 0.5, 0.5]; here it is [0.1, 0.1, 0.1]" in caplog.text


@pytest.mark.parametrize("names", [["blue", "red"], ["red", "blue"], ["ant", "bee", "cow"]])
def test_a_backbone_is_taken_for_other_classes(names):
    before = transfer()
    path = save(before)
    model = TransferClassifier(weights=path, class_names=names, image_size=SIZE)
    same_classes = names == before.class_names
    assert model.trained == same_classes
    assert torch.equal(model.backbone.layer4[1].conv2.weight, before.backbone.layer4[1].conv2.weight)
    if len(names) == 2:
        assert torch.equal(model.fc.weight, before.fc.weight) == same_classes


def test_another_network_is_refused():
    with pytest.raises(UserError, match="another network"):
        small(weights=save(transfer()))
    with pytest.raises(UserError, match="another network"):
        transfer().load_weights(save(small()))


@pytest.mark.parametrize(("arch", "size"), [("googlenet", 64), ("inception_v3", 80)])
@pytest.mark.parametrize("auxiliary", [True, False])
def test_features_are_those_of_torchvision(arch, size, auxiliary):
    plain = models.get_model(arch, weights=None, init_weights=False, transform_input=True).eval()
    state = plain.state_dict()
    torch.save({name: state[name] for name in state if auxiliary or not name.lower().startswith("aux")}, "x.pth")
    model = TransferClassifier(arch=arch, weights="x.pth", class_names=NAMES, image_size=size)
    plain.fc = torch.nn.Identity()
    image = torch.randn(2, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(model.backbone(image), plain(image), atol=1e-6, rtol=0)
    assert Path("x.pth").is_file()
