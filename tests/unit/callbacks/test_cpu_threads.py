import pytest
import torch
from lightning.pytorch import Callback, Trainer

from lit_vision.callbacks import OneThreadForSmallBatches
from lit_vision.data import ShapesDataModule
from lit_vision.data.batch import FeatureBatch, MixedBatch
from lit_vision.models import SmallCNN, WhitenedCNN


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class Watch(Callback):
    def __init__(self, fail=False):
        self.seen = {"train": set(), "val": set()}
        self.fail = fail

    def on_train_batch_end(self, *_):
        self.seen["train"].add(torch.get_num_threads())
        if self.fail:
            raise RuntimeError("stop")

    def on_validation_batch_end(self, *_):
        self.seen["val"].add(torch.get_num_threads())


def fit(batch_size, watch, model=SmallCNN, **options):
    data = ShapesDataModule(train_size=120, test_size=20, val_size=20, batch_size=batch_size, **options)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    callbacks = [OneThreadForSmallBatches(), watch]
    Trainer(max_epochs=2, accelerator="cpu", enable_checkpointing=False, callbacks=callbacks, **quiet).fit(
        model(class_names=data.class_names), data
    )
    return watch.seen


def test_small_batches_are_trained_in_one_thread_and_all_else_in_all(two_threads):
    assert fit(4, Watch()) == {"train": {1}, "val": {2}}
    assert fit(32, Watch()) == {"train": {1}, "val": {2}}  # the batches of shapes.yaml
    assert torch.get_num_threads() == 2
    assert fit(50, Watch()) == {"train": {2}, "val": {2}}


def test_small_batches_of_features_are_trained_in_one_thread_and_foreign_batches_in_all(two_threads):
    model = torch.nn.Linear(2, 2)
    label = torch.zeros(4, dtype=torch.int64)
    for batch, threads in (
        (FeatureBatch(torch.zeros(4, 512), label, label), 1),
        (FeatureBatch(torch.zeros(300, 512), label, label), 2),
        (MixedBatch(torch.zeros(4, 3, 32, 32), label, label, label, label), 1),
        ((torch.zeros(4, 3, 32, 32), label), 2),
    ):
        callback = OneThreadForSmallBatches()
        callback.on_train_epoch_start(None, None)
        callback.on_train_batch_start(None, model, batch, 0)
        assert torch.get_num_threads() == threads
        callback.on_train_end(None, None)
        assert torch.get_num_threads() == 2


@pytest.mark.slow
def test_an_epoch_of_larger_images_chooses_anew(two_threads):
    crops = {"crop_epochs": 1, "crop_size": 20}
    seen = fit(50, Watch(), lambda class_names: WhitenedCNN((8, 16, 16), class_names=class_names), **crops)
    assert seen == {"train": {1, 2}, "val": {2}}


def test_what_lightning_leaves_to_one_of_several_processes_is_all_there_is(two_threads):
    callback = OneThreadForSmallBatches()
    torch.set_num_threads(1)
    callback.on_fit_start(None, None)
    callback.on_train_epoch_start(None, None)
    assert torch.get_num_threads() == 1


def test_threads_are_given_back_when_training_fails(two_threads):
    with pytest.raises(RuntimeError, match="stop"):
        fit(4, Watch(fail=True))
    assert torch.get_num_threads() == 2


def test_another_number_of_threads_is_said(two_threads, caplog):
    for before, said in ((2, False), (4, True)):
        callback = OneThreadForSmallBatches()
        callback.load_state_dict({"threads": before})
        callback.on_train_start(Trainer(accelerator="cpu", logger=False, enable_checkpointing=False), SmallCNN())
        assert ("was trained with 4 CPU threads, not 2" in caplog.text) == said
    assert callback.state_dict() == {"threads": 2}
