import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from model_helpers import QUIET, SIZE, fit_transfer, picture_data, transfer
from PIL import Image
from torch import nn

from lit_vision.data.batch import Batch, FeatureBatch
from lit_vision.models import SmallCNN, feature_cache
from lit_vision.models.folding import fold_for_inference


@pytest.fixture(autouse=True)
def _unfolded(monkeypatch):
    """Compute features with the backbone itself instead of a folded copy, so that its calls can be counted."""
    monkeypatch.setattr(feature_cache, "fold_for_inference", lambda network: network)
    # whether bfloat16 is fast depends on the machine, and trying it out takes calls
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)


def calls(model):
    """Counts the images that pass the backbone."""
    seen = []
    model.backbone.register_forward_hook(lambda module, args, output: seen.append(len(args[0])))
    return seen


@pytest.mark.slow
@pytest.mark.parametrize(("bfloat16", "probes"), [(False, 0), (True, 2 * 4)])
def test_each_image_passes_the_backbone_once_and_the_result_is_the_same(pictures, monkeypatch, bfloat16, probes):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bfloat16, raising=False)
    cached, plain = transfer(), transfer(cache_features=False)
    seen, seen_plain = calls(cached), calls(plain)
    with_cache, without = fit_transfer(pictures, cached, 4), fit_transfer(pictures, plain, 4)
    assert sum(seen) == 24 + 14 + probes
    assert sum(seen_plain) == 4 * (24 + 14)
    assert without["val/acc"] > 0.7
    for name, value in without.items():
        assert with_cache[name] == pytest.approx(value, abs=1e-2 if "loss" in name else 1e-6)


class Cancelling(nn.Module):
    """Loses everything in bfloat16: a small difference between large numbers."""

    def __init__(self):
        super().__init__()
        self.large = nn.Linear(3, 512)

    def forward(self, image):
        colour = image.mean((2, 3))
        return self.large(colour + 1000) - self.large(colour * 0.5 + 1000)


@pytest.mark.parametrize("lossy", [False, True])
def test_the_cache_keeps_the_result_where_bfloat16_would_not(pictures, monkeypatch, lossy):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    model = transfer()
    if lossy:
        model.backbone = Cancelling().requires_grad_(False)
    trainer = Trainer(**QUIET)
    trainer.validate(model, picture_data(pictures), verbose=False)
    loader = trainer.val_dataloaders
    batch = trainer.datamodule.on_after_batch_transfer(loader.take(torch.arange(14)), 0)
    with torch.no_grad():
        exact = model.backbone(batch.image)
    error = (loader.features - exact).norm() / exact.norm()
    assert error < (1e-5 if lossy else 0.01)
    assert lossy or error > 1e-5  # it was bfloat16


@pytest.mark.slow
@pytest.mark.parametrize("case", ["augment", "small", "unfrozen", "off"])
def test_no_features_are_cached_where_it_is_not_valid_and_the_log_says_so(pictures, caplog, case):
    model = transfer(cache_features=case != "off")
    if case == "unfrozen":
        model.backbone.layer4.requires_grad_(True)
    seen = calls(model)
    data = {"augment": {"augment": ["flip"]}, "small": {"crop_epochs": 1, "crop_size": 32}}.get(case, {})
    fit_transfer(pictures, model, 2, **data)
    assert sum(seen) == 2 * (24 + 14) + (case == "small")  # on which the size was tried
    reasons = {
        "augment": "augmentation changes the images",
        "small": "the first epochs see smaller images",
        "unfrozen": "the backbone is not frozen",
        "off": "",
    }
    assert reasons[case] in caplog.text
    assert ("every epoch" in caplog.text) == (case != "off")


def test_a_batch_of_features_skips_the_backbone():
    model = transfer().eval()
    image, label, index = torch.randn(3, 3, SIZE, SIZE), torch.tensor([0, 1, 0]), torch.arange(3)
    with torch.no_grad():
        features = model.backbone(image)
        seen = calls(model)
        loss, logits = model.step(FeatureBatch(features, label, index), "val")
        assert seen == []
        expected_loss, expected = model.step(Batch(image, label, index), "val")
    assert torch.equal(logits, expected)
    assert loss.item() == expected_loss.item()
    empty = FeatureBatch(torch.zeros(0, 512), label[:0], index[:0])
    assert model.step(empty, "train")[1].shape == (0, 2)


def test_the_loaders_of_a_run_serve_features(pictures):
    model, data = transfer(), picture_data(pictures)
    trainer = Trainer(max_epochs=2, **QUIET, enable_checkpointing=False)
    kinds = []
    model.register_forward_pre_hook(lambda *_: kinds.append("forward"))
    trainer.fit(model, data)
    for loader, count in ((trainer.train_dataloader, 24), (trainer.val_dataloaders, 14)):
        assert loader.features.shape == (count, 512)
        assert isinstance(next(iter(loader)), FeatureBatch)
    assert kinds == []


def test_the_features_are_those_of_the_weights_of_the_run(pictures):
    trainer, data = Trainer(**QUIET, enable_checkpointing=False), picture_data(pictures)
    first, second = transfer(0), transfer(1)
    found = [trainer.validate(model, data, verbose=False)[0] for model in (first, second)]
    alone = Trainer(**QUIET, enable_checkpointing=False).validate(second, picture_data(pictures), verbose=False)[0]
    assert found[1] == alone != found[0]


def test_a_network_without_a_cache_gets_images_from_the_same_data(pictures):
    trainer, data = Trainer(**QUIET, enable_checkpointing=False), picture_data(pictures)
    trainer.validate(transfer(), data, verbose=False)
    trainer.validate(SmallCNN(class_names=["blue", "red"], image_size=SIZE), data, verbose=False)


def test_data_that_is_not_ours_may_vary(pictures, caplog):
    class Foreign(LightningDataModule):
        def __init__(self):
            super().__init__()
            self.own = picture_data(pictures)
            self.own.setup("fit")

        def train_dataloader(self):
            return self.own.train_dataloader()

        def on_after_batch_transfer(self, batch, dataloader_idx):
            return self.own.on_after_batch_transfer(batch, dataloader_idx)

    model = transfer()
    seen = calls(model)
    Trainer(max_epochs=2, **QUIET, enable_checkpointing=False).fit(model, Foreign())
    assert sum(seen) == 2 * 24
    assert "not an ImageDataModule" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_second_run_computes_no_features_and_has_the_same_figures(pictures, monkeypatch, bfloat16):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bfloat16, raising=False)
    first = fit_transfer(pictures, transfer(), 3)
    model = transfer()
    seen = calls(model)
    assert fit_transfer(pictures, model, 3) == first
    assert seen == []
    Trainer(**QUIET).test(model, picture_data(pictures), verbose=False)  # on the validation images, which are known
    assert seen == []
    assert fit_transfer(pictures, transfer(), 3, cache="none") == first


@pytest.mark.slow
def test_features_are_computed_for_changed_images_and_other_weights_alone(pictures):
    fit_transfer(pictures, transfer(), 1)
    changed = next(pictures.glob("train/*/*.png"))
    Image.new("RGB", (20, 20), (1, 2, 3)).save(changed)
    model, other = transfer(), transfer(1)
    seen, seen_by_other = calls(model), calls(other)
    found = fit_transfer(pictures, model, 2)
    fit_transfer(pictures, other, 1)
    assert sum(seen) == 1
    assert sum(seen_by_other) == 24 + 14
    assert found == pytest.approx(fit_transfer(pictures, transfer(), 2, cache="none"), abs=1e-5)


@pytest.mark.slow
def test_only_the_images_that_an_epoch_uses_are_computed(pictures):
    model, plain = transfer(), transfer(cache_features=False)
    seen, results = calls(model), []
    for each in (model, plain):
        trainer = Trainer(**QUIET, max_epochs=2, limit_train_batches=1, limit_val_batches=1, num_sanity_val_steps=0)
        trainer.fit(each, picture_data(pictures))
        results.append({name: value.item() for name, value in trainer.callback_metrics.items()})
    assert 14 + 8 < sum(seen) <= 14 + 16  # a validation batch has all images; a training batch has others in each epoch
    assert results[0] == pytest.approx(results[1], abs=1e-4)


def test_folding_changes_the_features_by_rounding_only():
    backbone = transfer().backbone
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 2)
    image = torch.randn(2, 3, SIZE, SIZE)
    with torch.no_grad():
        exact, folded = backbone(image), fold_for_inference(backbone)(image)
    assert (folded - exact).abs().max() < 1e-4 * exact.abs().max()
    assert any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules())
