import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from lit_vision.callbacks import Calibrate
from lit_vision.data import ShapesDataModule
from lit_vision.models import Classifier, SmallCNN
from lit_vision.models.calibration import calibrate

QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}


class Plain(Classifier):
    """A network without a Linear layer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 10, 32)

    def forward(self, image):
        return self.conv(image).flatten(1)


def fit(model, **options):
    torch.manual_seed(0)
    callback = Calibrate()
    data = ShapesDataModule(train_size=200, val_size=60, test_size=10, batch_size=20)
    trainer = Trainer(accelerator="cpu", max_epochs=2, callbacks=[callback], **QUIET, **options)
    trainer.fit(model, data)
    checkpoint = {}
    callback.on_save_checkpoint(trainer, model, checkpoint)
    return trainer, data, checkpoint


def values(model, data):
    with torch.no_grad():
        batches = [data.preprocess(batch) for batch in data.val_dataloader()]
        inputs = []
        hook = model.layer_out.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
        logits = torch.cat([model(batch.image) for batch in batches])
        hook.remove()
    return logits, torch.cat([batch.label for batch in batches]), torch.cat(inputs)


def test_a_checkpoint_has_what_the_validation_images_tell():
    model = SmallCNN()
    _, data, checkpoint = fit(model)
    expected = calibrate(*values(model.eval(), data))
    found = checkpoint["calibration"]
    assert found["temperature"] == pytest.approx(expected.temperature, rel=1e-4)
    torch.testing.assert_close(found["confidence"], expected.confidence)
    torch.testing.assert_close(found["features"].float(), expected.features.float(), atol=2e-3, rtol=0)
    assert model.calibration.temperature == found["temperature"]
    assert not model.layer_out._forward_pre_hooks


def test_a_network_without_a_linear_layer_has_a_temperature():
    _, _, checkpoint = fit(Plain())
    assert checkpoint["calibration"]["temperature"] > 0
    assert checkpoint["calibration"]["features"].shape == (0, 0)


def test_a_part_of_the_validation_images_will_do():
    _, _, checkpoint = fit(SmallCNN(), limit_val_batches=1)
    assert 0 < len(checkpoint["calibration"]["correct"]) <= 60


@pytest.mark.parametrize("options", [{"limit_val_batches": 0}, {"check_val_every_n_epoch": 3}])
def test_without_a_validation_of_these_weights_there_is_none(options):
    model = SmallCNN()
    _, _, checkpoint = fit(model, **options)
    assert checkpoint == {}
    assert model.calibration is None


def test_a_step_of_ones_own_may_return_its_loss():
    class Own(SmallCNN):
        def validation_step(self, batch, batch_idx):
            return self.step(batch, "val")[0]

    _, _, checkpoint = fit(Own())
    assert checkpoint == {}
