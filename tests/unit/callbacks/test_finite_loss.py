import math
import re

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from lit_vision.callbacks import BestAndLast, TerminateOnNaN
from lit_vision.data import ShapesDataModule
from lit_vision.errors import UserError
from lit_vision.models import SmallCNN


class Spoil(Callback):
    """Makes a weight NaN after a step."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            pl_module.layer_out.bias.data[0] = math.nan


def fit(folder, step, epochs=2, **options):
    data = ShapesDataModule(train_size=70, test_size=10, val_size=10, batch_size=10)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    callbacks = [BestAndLast(), Spoil(step), TerminateOnNaN()]
    trainer = Trainer(
        default_root_dir=folder, max_epochs=epochs, accelerator="cpu", callbacks=callbacks, **quiet, **options
    )
    trainer.fit(SmallCNN(class_names=data.class_names), data)


def test_the_error_names_the_step_and_no_checkpoint_is_written(tmp_path):
    with pytest.raises(UserError) as error:
        fit(tmp_path, 2)
    assert re.fullmatch(
        r"the loss is nan at step 3, in epoch 1, with lr 0\.\d+; there is no good checkpoint yet: lower --model\.lr, "
        r"or clip gradients with --trainer\.gradient_clip_val",
        str(error.value),
    )
    assert not list(tmp_path.rglob("*.ckpt"))


def test_the_last_good_checkpoint_is_kept_and_named(tmp_path):
    with pytest.raises(UserError, match="the loss is nan at step 9, in epoch 2"):
        fit(tmp_path, 8)
    last = tmp_path / "checkpoints" / "last.ckpt"
    state = torch.load(last, weights_only=True)
    assert state["global_step"] == 6
    assert all(tensor.isfinite().all() for tensor in state["state_dict"].values())
    with pytest.raises(UserError, match=re.escape(f"the last good checkpoint is {last}")):
        fit(tmp_path, 8)


def test_the_last_step_of_an_epoch_is_noticed_by_its_validation_or_else_by_the_weights(tmp_path):
    with pytest.raises(UserError, match="val/loss is nan at step 6"):
        fit(tmp_path / "a", 6)
    with pytest.raises(UserError, match="a weight is NaN or infinite at step 6"):
        fit(tmp_path / "b", 6, limit_val_batches=0)
    assert not list(tmp_path.rglob("*.ckpt"))


def test_many_losses_are_checked_at_once(tmp_path):
    data = ShapesDataModule(train_size=120, test_size=10, val_size=10, batch_size=1)
    steps = []

    class Count(Callback):
        def on_train_batch_end(self, trainer, *_):
            steps.append(trainer.global_step)

    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    callbacks = [Spoil(3), TerminateOnNaN(), Count()]
    trainer = Trainer(max_epochs=1, accelerator="cpu", callbacks=callbacks, enable_checkpointing=False, **quiet)
    with pytest.raises(UserError, match="the loss is nan at step 4"):
        trainer.fit(SmallCNN(class_names=data.class_names), data)
    assert steps[-1] == 49  # the 50th was stopped
