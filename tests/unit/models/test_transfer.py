import hashlib

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from model_helpers import QUIET, SIZE, fit_transfer, picture_data, transfer

from lit_vision.errors import UserError
from lit_vision.models import Classifier, TransferClassifier


def digest(module):
    return {name: hashlib.sha256(t.numpy().tobytes()).hexdigest() for name, t in module.state_dict().items()}


@pytest.mark.slow
@pytest.mark.parametrize("augment", [[], ["flip"]])
def test_the_backbone_is_bit_identical_after_fit_and_fc_alone_is_trained(pictures, augment):
    model = transfer()
    before, fc = digest(model.backbone), model.fc.weight.clone()
    assert [id(p) for g in model.configure_optimizers().param_groups for p in g["params"]] == [
        id(model.fc.weight),
        id(model.fc.bias),
    ]
    fit_transfer(pictures, model, augment=augment)
    assert digest(model.backbone) == before
    assert not torch.equal(model.fc.weight, fc)
    model.train()
    assert model.fc.training
    assert not any(module.training for module in model.backbone.modules())


@pytest.mark.slow
def test_validate_after_reload_equals_fit(pictures, tmp_path):
    trainer = Trainer(max_epochs=2, **QUIET, default_root_dir=tmp_path / "run", num_sanity_val_steps=0)
    model = transfer()
    trainer.fit(model, picture_data(pictures))
    logged = {name: trainer.callback_metrics[name].item() for name in ("val/loss", "val/acc")}
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    opened = Classifier.load_from_checkpoint(tmp_path / "x.ckpt")
    assert isinstance(opened, TransferClassifier)
    assert Trainer(**QUIET).validate(opened, picture_data(pictures), verbose=False)[0] == logged
    image = torch.rand(3, 3, SIZE, SIZE)
    assert torch.equal(opened(image), model.eval()(image))


@pytest.mark.slow
@pytest.mark.parametrize(("unfreeze", "optimizer"), [("norm", "sgd"), (2, "adamw"), ("all", "muon")])
def test_what_is_unfrozen_is_trained_and_the_rest_is_bit_identical(pictures, unfreeze, optimizer):
    if optimizer == "muon":
        pytest.importorskip("timm")
    model = transfer(unfreeze=unfreeze, optimizer=optimizer, weight_decay=0.1)
    trained = {name for stage in model._trained_stages for name in stage.params}
    before = digest(model.backbone)
    fit_transfer(pictures, model, epochs=1)
    changed = {name for name, value in digest(model.backbone).items() if value != before[name]}
    assert changed == trained  # so that no buffer is among them, such as the statistics of BatchNorm
    assert {name for name, p in model.backbone.named_parameters() if p.requires_grad} == trained
    assert not any(module.training for module in model.backbone.modules())


@pytest.mark.slow
@pytest.mark.parametrize("augment", [(), ("random_resized_crop", "mixup")])
def test_the_head_alone_is_trained_until_unfreeze_at(pictures, augment):
    states, served = [], []

    class Watched(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            states.append(digest(pl_module.backbone))
            served.append(trainer.train_dataloader.features is not None)

    model = transfer(unfreeze="all", unfreeze_at=1)
    before, data = digest(model.backbone), picture_data(pictures, augment=augment)
    Trainer(max_epochs=2, **QUIET, enable_checkpointing=False, callbacks=[Watched()]).fit(model, data)
    assert states[0] == before != states[1]
    assert served == [True, False]


@pytest.mark.slow
def test_until_unfreeze_at_the_features_are_those_of_images_without_augmentation(pictures):
    features = []

    class Watched(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            if trainer.current_epoch == 0:
                features.append(trainer.train_dataloader.features.clone())

    for augment in ([], ["flip", "rotate", "cutmix"]):
        model, data = transfer(unfreeze="all", unfreeze_at=1), picture_data(pictures, augment=augment)
        Trainer(max_epochs=2, **QUIET, enable_checkpointing=False, callbacks=[Watched()]).fit(model, data)
    assert torch.equal(*features)


def test_learning_rates_by_depth():
    model = transfer(unfreeze=2, layer_decay=0.5, optimizer="adamw", weight_decay=0.3)
    groups = model.configure_optimizers().param_groups
    assert [group["lr"] for group in groups] == pytest.approx([0.05, 0.05, 0.025, 0.025, 0.0125, 0.0125])
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0] * 3
    assert all(p.ndim == 1 for group in groups[1::2] for p in group["params"])
    default = TransferClassifier(weights=None, unfreeze="all", optimizer="adamw").configure_optimizers().param_groups
    assert [group["lr"] for group in default[::2]] == pytest.approx([3e-3] + [1e-4] * 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unfreeze": 6}, "unfreeze 6 is out of range: use --model.unfreeze from 1 to 5"),
        ({"unfreeze_at": 1}, "need layers to unfreeze: set --model.unfreeze"),
        ({"unfreeze": 1, "unfreeze_at": -1}, "unfreeze_at -1 is below 0"),
        ({"unfreeze": 1, "layer_decay": 0.0}, "layer_decay 0.0 is out of range"),
        ({"unfreeze": 1, "layer_decay": 1.5}, "layer_decay 1.5 is out of range"),
        ({"optimizer": "adamw", "nesterov": True}, "adamw has no nesterov"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(UserError, match=message):
        transfer(**options)


@pytest.mark.slow
def test_unfreezing_after_the_end_is_refused(pictures):
    with pytest.raises(UserError, match="unfreeze_at 3 is after the end of the run"):
        fit_transfer(pictures, transfer(unfreeze=1, unfreeze_at=3), epochs=3)


def test_pretrained_convolutions_keep_their_scale():
    with pytest.raises(UserError, match=r"muon_sgd changes the scale .*--model\.optimizer muon"):
        TransferClassifier(arch="resnet18", weights=None, unfreeze="all", optimizer="muon_sgd")
    TransferClassifier(arch="resnet18", weights=None, optimizer="muon_sgd")  # trains fc alone, by SGD
