import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from model_helpers import NAMES, QUIET, batches, small

from lit_vision.data import ShapesDataModule
from lit_vision.data.batch import Batch
from lit_vision.errors import UserError
from lit_vision.models import Classifier, InputSpec, SmallCNN, TransferClassifier, WhitenedCNN


def test_loss_and_accuracy_are_means_over_samples():
    model, data = small(), batches([8, 8, 1])
    metrics = Trainer(**QUIET, enable_checkpointing=False).validate(model, data, verbose=False)[0]
    image, label = torch.cat([b.image for b in data]), torch.cat([b.label for b in data])
    with torch.no_grad():
        logits = model(image)
    assert metrics["val/loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, label).item(), rel=1e-6)
    assert metrics["val/acc"] == pytest.approx((logits.argmax(1) == label).float().mean().item())


def test_metrics_are_logged_once_an_epoch_and_start_anew():
    seen = []

    class Watched(SmallCNN):
        def log_dict(self, dictionary, *args, **kwargs):
            seen.append(sorted(dictionary))
            super().log_dict(dictionary, *args, **kwargs)

        def training_step(self, batch, batch_idx):
            assert self.images_seen == 4 * batch_idx
            return super().training_step(batch, batch_idx)

    trainer = Trainer(max_epochs=3, **QUIET, enable_checkpointing=False, num_sanity_val_steps=0)
    trainer.fit(Watched(class_names=NAMES, image_size=16), batches([4] * 5), batches([4] * 2))
    assert seen == [["val/acc", "val/loss"], ["train/acc", "train/loss"]] * 3


def test_labels_are_smoothed_in_training_alone():
    batch = next(iter(batches([8])))
    model = small(label_smoothing=0.3)
    plain = torch.nn.functional.cross_entropy(model(batch.image), batch.label)
    smooth = torch.nn.functional.cross_entropy(model(batch.image), batch.label, label_smoothing=0.3)
    assert model.step(batch, "train")[0].item() == pytest.approx(smooth.item())
    assert model.step(batch, "val")[0].item() == pytest.approx(plain.item())
    assert plain.item() != pytest.approx(smooth.item())
    with pytest.raises(UserError, match=r"label_smoothing 1\.1 is out of range.*--model\.label_smoothing"):
        small(label_smoothing=1.1)


def test_the_images_that_it_takes_are_one_value():
    model = small(mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0), resize="center_crop")
    assert model.input_spec == InputSpec(16, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0), "center_crop", "full")
    assert model.example_input_array.shape == (1, 3, 16, 16)


def test_bfloat16_is_preferred_by_the_network_that_was_made_for_it():
    assert {kind: kind.prefers_bfloat16 for kind in (Classifier, SmallCNN, TransferClassifier, WhitenedCNN)} == {
        Classifier: False,
        SmallCNN: False,
        TransferClassifier: False,
        WhitenedCNN: True,
    }


def test_an_empty_batch_has_a_loss_without_a_gradient():
    model = small()
    loss, logits = model.step(
        Batch(torch.zeros(0, 3, 16, 16), torch.zeros(0, dtype=torch.int64), torch.arange(0)), "train"
    )
    loss.backward()
    assert (loss.item(), logits.shape, model.images_seen) == (0, (0, 3), 0)
    assert all(parameter.grad.eq(0).all() for parameter in model.parameters())


def test_data_of_ones_own_may_be_any_data_module():
    class Own(LightningDataModule):
        def train_dataloader(self):
            return batches([4] * 3)

        def val_dataloader(self):
            return batches([4] * 2)

    for model in (small(), WhitenedCNN(class_names=NAMES, image_size=17, widths=(4, 4, 4))):
        trainer = Trainer(max_epochs=1, **QUIET, enable_checkpointing=False)
        data = Own()
        if isinstance(model, WhitenedCNN):
            data.train_dataloader = lambda: batches([4] * 3, side=24)
            data.val_dataloader = lambda: batches([4] * 2, side=24)
        trainer.fit(model, data)
        assert trainer.callback_metrics["train/loss"].isfinite()


@pytest.mark.parametrize(("crop", "said"), [(1, True), (2, True), (0, False)])
def test_crops_are_tried_and_a_run_without_whole_images_is_reported(caplog, crop, said):
    seen = []

    class Watched(WhitenedCNN):
        def check_crop_size(self, side):
            seen.append(side)
            super().check_crop_size(side)

    data = ShapesDataModule(batch_size=10, train_size=30, val_size=10, test_size=10, crop_epochs=crop, crop_size=24)
    options = {"accumulate_grad_batches": 2, "num_sanity_val_steps": 0, "enable_checkpointing": False}
    Trainer(max_epochs=1, **QUIET, **options).fit(Watched(class_names=data.class_names, widths=(4, 4, 4)), data)
    assert seen == [24] * bool(crop)
    assert ("no epoch trains on whole images" in caplog.text) == said
