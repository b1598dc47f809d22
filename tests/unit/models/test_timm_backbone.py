import pytest
import torch

from lit_vision.errors import UserError
from lit_vision.models import Classifier, InputSpec, TransferClassifier, pretrained_input
from lit_vision.models.networks import find_backbone

timm = pytest.importorskip("timm")
FAMILIES = {
    "convnext_atto": 5,
    "dla34": 7,
    "efficientnet_lite0": 8,
    "mobilenetv3_small_050": 8,
    "resnet10t": 5,
    "vit_tiny_patch16_224": 13,
}
"""Networks whose last layers are of several kinds, and their numbers of stages."""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), FAMILIES.items())
def test_a_network_is_timms_own_with_another_last_layer(name, count, tmp_path):
    arch = f"timm/{name}"
    model = TransferClassifier(arch, weights=None, class_names=["a", "b", "c"]).eval()
    plain = timm.create_model(name, num_classes=3).eval()
    plain.load_state_dict(model.export_state_dict(), strict=True)
    image = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(plain(image), model(image), atol=1e-5, rtol=0)
    torch.save(plain.state_dict(), tmp_path / "x.pth")
    again = TransferClassifier(arch, tmp_path / "x.pth", class_names=["a", "b", "c"])
    assert again.trained
    assert torch.equal(again.fc.weight, model.fc.weight)
    torch.save(timm.create_model(name, num_classes=7).state_dict(), tmp_path / "other.pth")
    assert not TransferClassifier(arch, tmp_path / "other.pth", class_names=["a", "b", "c"]).trained
    stages = find_backbone(arch).stages()
    assert len(stages) == count
    names = [name for stage in stages for name in stage.params]
    assert sorted(names) == sorted(name for name, _ in model.backbone.named_parameters())


@pytest.mark.slow
def test_features_of_a_network_with_two_last_layers_can_be_used_but_not_exported_to_timm(tmp_path):
    model = TransferClassifier("timm/deit_tiny_distilled_patch16_224", weights=None, class_names=["a", "b"])
    assert model.fc.in_features == 192
    torch.save(timm.create_model("deit_tiny_distilled_patch16_224").state_dict(), tmp_path / "x.pth")
    model.load_weights(tmp_path / "x.pth")
    with pytest.raises(UserError, match="not one Linear layer: use --format onnx"):
        model.export_state_dict()


def test_safetensors(tmp_path):
    from safetensors.torch import save_file

    network = timm.create_model("resnet10t", num_classes=5)
    save_file(network.state_dict(), tmp_path / "x.safetensors")
    model = TransferClassifier("timm/resnet10t", tmp_path / "x.safetensors", class_names=["a", "b"], image_size=64)
    assert torch.equal(model.backbone.state_dict()["conv1.0.weight"], network.state_dict()["conv1.0.weight"])
    (tmp_path / "x.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"x\.safetensors cannot be read as a weights file"):
        model.load_weights(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("arch", "spec"),
    [
        ("timm/resnet18.a1_in1k", InputSpec(224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 235)),
        ("timm/vit_base_patch16_384", InputSpec(384, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 384)),
        ("timm/convnext_base.clip_laion2b_augreg_ft_in12k_in1k_384", None),
    ],
)
def test_the_images_of_the_weights(arch, spec):
    found = pretrained_input(arch)
    if spec is None:
        assert (found.image_size, found.resize) == (384, "stretch")
    else:
        assert found == spec


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arch": "timm/resnet81"}, "timm has no network resnet81: did you mean timm/resnet"),
        ({"arch": "timm/resnet18.nonsense"}, "timm has no weights nonsense of resnet18: use one of .*a1_in1k"),
        ({"arch": "timm/vit_tiny_patch16_224", "image_size": 64}, "cannot take images of 64 pixels.*image_size to 224"),
        ({"arch": "timm/resnet10t", "weights": "IMAGENET"}, "set --model.weights to a file, DEFAULT or null"),
    ],
)
def test_what_cannot_be(options, message):
    with pytest.raises(UserError, match=message):
        TransferClassifier(**{"weights": None, **options})


def test_without_timm(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(UserError, match=r"timm/resnet18 needs timm: install it with pip install 'lit-vision\[timm\]'"):
        TransferClassifier("timm/resnet18", weights=None)


def test_no_network_says_whose_weights_are_missing(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", refuse)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=r"timm's weights of resnet10t from timm/resnet10t\S* \(.*--model.weights FILE"):
        TransferClassifier("timm/resnet10t")


@pytest.mark.slow
def test_a_checkpoint_needs_no_options(tmp_path, pictures):
    from lightning.pytorch import Trainer
    from model_helpers import QUIET, picture_data

    model = TransferClassifier("timm/resnet10t", None, unfreeze=1, class_names=["blue", "red"], image_size=48)
    trainer = Trainer(max_epochs=1, **QUIET, default_root_dir=tmp_path)
    trainer.fit(model, picture_data(pictures))
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    image = torch.rand(2, 3, 48, 48)
    assert torch.equal(Classifier.load_from_checkpoint(tmp_path / "x.ckpt")(image), model.eval()(image))
