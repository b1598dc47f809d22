import hashlib

import pytest
import torch
from lightning.pytorch import Trainer
from model_helpers import QUIET, SIZE, fit_transfer, picture_data, transfer

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
