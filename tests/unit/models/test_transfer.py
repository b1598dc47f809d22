import hashlib
import urllib.error

import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image
from torch import nn
from torchvision import models

from lit_vision.data import ImageFolderDataModule
from lit_vision.errors import UserError
from lit_vision.models import Classifier, TransferClassifier

QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
SIZE = 48


@pytest.fixture
def pictures(tmp_path):
    """Noise with a red or a blue tint, so that even random features tell the classes apart."""
    generator = torch.Generator().manual_seed(0)
    for split, count in (("train", 12), ("val", 7)):
        for name, channel in (("blue", 2), ("red", 0)):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = torch.randint(0, 128, (60, 50, 3), generator=generator, dtype=torch.uint8)
                pixels[..., channel] += 127
                Image.fromarray(pixels.numpy()).save(tmp_path / split / name / f"{number}.png")
    return tmp_path


def data(root, **options):
    return ImageFolderDataModule(root, batch_size=8, image_size=SIZE, seed=0, **options)


def transfer(seed=0, **options):
    torch.manual_seed(seed)
    return TransferClassifier(weights=None, class_names=["blue", "red"], image_size=SIZE, lr=0.05, **options)


def fit(root, model, epochs=3, **options):
    trainer = Trainer(max_epochs=epochs, **QUIET, enable_checkpointing=False, num_sanity_val_steps=0)
    trainer.fit(model, data(root, **options))
    return {name: value.item() for name, value in trainer.callback_metrics.items()}


def digest(module):
    return {name: hashlib.sha256(t.numpy().tobytes()).hexdigest() for name, t in module.state_dict().items()}


@pytest.mark.parametrize("augment", [[], ["flip"]])
def test_the_backbone_is_bit_identical_after_fit_and_fc_alone_is_trained(pictures, augment):
    model = transfer()
    before, fc = digest(model.backbone), model.fc.weight.clone()
    assert [id(p) for g in model.configure_optimizers().param_groups for p in g["params"]] == [
        id(model.fc.weight),
        id(model.fc.bias),
    ]
    fit(pictures, model, augment=augment)
    assert digest(model.backbone) == before
    assert not torch.equal(model.fc.weight, fc)
    model.train()
    assert model.fc.training
    assert not any(module.training for module in model.backbone.modules())


def calls(model):
    """Counts the images that pass the backbone."""
    seen = []
    model.backbone.register_forward_hook(lambda module, args, output: seen.append(len(args[0])))
    return seen


@pytest.mark.parametrize(("bfloat16", "probes"), [(False, 0), (True, 2 * 4)])
def test_each_image_passes_the_backbone_once_and_the_result_is_the_same(pictures, monkeypatch, bfloat16, probes):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bfloat16, raising=False)
    banked, plain = transfer(), transfer(cache_features=False)
    seen, seen_plain = calls(banked), calls(plain)
    with_bank, without = fit(pictures, banked, 4), fit(pictures, plain, 4)
    assert sum(seen) == 24 + 14 + probes
    assert sum(seen_plain) == 4 * (24 + 14)
    assert without["val/acc"] > 0.7
    for name, value in without.items():
        assert with_bank[name] == pytest.approx(value, abs=1e-2 if "loss" in name else 1e-6)


class Cancelling(nn.Module):
    """Loses everything in bfloat16: a small difference between large numbers."""

    def __init__(self):
        super().__init__()
        self.large = nn.Linear(3, 512)

    def forward(self, image):
        colour = image.mean((2, 3))
        return self.large(colour + 1000) - self.large(colour * 0.5 + 1000)


@pytest.mark.parametrize("lossy", [False, True])
def test_the_bank_keeps_the_result_where_bfloat16_would_not(pictures, monkeypatch, lossy):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    model = transfer()
    if lossy:
        model.backbone = Cancelling().requires_grad_(False)
    trainer = Trainer(**QUIET)
    trainer.validate(model, data(pictures), verbose=False)
    loader = trainer.val_dataloaders
    batch = trainer.datamodule.on_after_batch_transfer(loader.take(torch.arange(14)), 0)
    with torch.no_grad():
        exact = model.backbone(batch.image)
    error = (loader.bank - exact).norm() / exact.norm()
    assert error < (1e-5 if lossy else 0.01)
    assert lossy or error > 1e-5  # it was bfloat16


@pytest.mark.parametrize("case", ["augment", "small", "unfrozen", "off"])
def test_no_bank_where_it_is_not_valid_and_the_log_says_so(pictures, caplog, case):
    model = transfer(cache_features=case != "off")
    if case == "unfrozen":
        model.backbone.layer4.requires_grad_(True)
    seen = calls(model)
    data = {"augment": {"augment": ["flip"]}, "small": {"crop_epochs": 1, "crop_size": 32}}.get(case, {})
    fit(pictures, model, 2, **data)
    assert sum(seen) == 2 * (24 + 14) + (case == "small")  # on which the size was tried
    reasons = {
        "augment": "augmentation changes the images",
        "small": "the first epochs see parts of the images",
        "unfrozen": "the backbone is not frozen",
        "off": "",
    }
    assert reasons[case] in caplog.text
    assert ("every epoch" in caplog.text) == (case != "off")


def test_validate_after_reload_equals_fit(pictures, tmp_path):
    trainer = Trainer(max_epochs=2, **QUIET, default_root_dir=tmp_path / "run", num_sanity_val_steps=0)
    model = transfer()
    trainer.fit(model, data(pictures))
    logged = {name: trainer.callback_metrics[name].item() for name in ("val/loss", "val/acc")}
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    opened = Classifier.load_from_checkpoint(tmp_path / "x.ckpt")
    assert isinstance(opened, TransferClassifier)
    assert Trainer(**QUIET).validate(opened, data(pictures), verbose=False)[0] == logged
    image = torch.rand(3, 3, SIZE, SIZE)
    assert torch.equal(opened(image), model.eval()(image))


@pytest.mark.parametrize("arch", ["resnet18", "mobilenet_v2", "efficientnet_b0", "vit_b_16"])
def test_plain_state_dict_loads_into_torchvisions_own_network(arch):
    size = 224 if arch == "vit_b_16" else 64
    model = TransferClassifier(arch, weights=None, class_names=["a", "b", "c"], image_size=size).eval()
    plain = models.get_model(arch, num_classes=3).eval()
    plain.load_state_dict(model.export_state_dict(), strict=True)
    image = torch.rand(2, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(plain(image), model(image), atol=1e-5, rtol=0)


def test_a_file_that_the_notebook_saved_gives_its_logits(tmp_path):
    network = models.resnet18(weights=None)
    network.requires_grad_(False)
    network.fc = nn.Linear(512, 2)
    torch.save(network.state_dict(), tmp_path / "transfer_learning_torch.pth")
    model = TransferClassifier(weights=tmp_path / "transfer_learning_torch.pth", class_names=["ants", "bees"]).eval()
    assert model.trained
    image = torch.rand(2, 3, 224, 224)
    assert torch.equal(model(image), network.eval()(image))


def test_weights_of_another_head_give_the_backbone_alone(tmp_path):
    network = models.mobilenet_v2(weights=None)
    torch.save(network.state_dict(), tmp_path / "x.pth")
    model = TransferClassifier("mobilenet_v2", tmp_path / "x.pth", class_names=["a", "b"], image_size=32)
    assert not model.trained
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in model.backbone.state_dict().items())


def test_weights_of_another_network_name_the_first_keys(tmp_path):
    torch.save(models.resnet18(weights=None).state_dict(), tmp_path / "x.pth")
    with pytest.raises(
        UserError, match=r"x\.pth holds another network than MobileNetV2.*features\.0\.0\.weight is missing"
    ):
        TransferClassifier("mobilenet_v2", tmp_path / "x.pth", image_size=32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arch": "resnet81"}, "no network resnet81: did you mean resnet18"),
        ({"arch": "squeezenet1_0"}, "squeezenet1_0 is AdaptiveAvgPool2d, no Linear"),
        ({"arch": "vit_b_16", "image_size": 64}, "vit_b_16 takes no images of 64 pixels"),
        ({"weights": "IMAGENET"}, r"weights IMAGENET is neither a file.*IMAGENET1K_V1, DEFAULT or null"),
    ],
)
def test_what_cannot_be(options, message):
    with pytest.raises(UserError, match=message):
        TransferClassifier(**{"weights": None, **options})


def test_no_network_says_where_the_file_goes(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"resnet18-\w+\.pth at .*checkpoints.resnet18-\w+\.pth.*--model.weights FILE"):
        TransferClassifier()
    assert not list(tmp_path.rglob("*.pth"))
