from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from lit_vision.callbacks import BestAndLast, checkpoint
from lit_vision.data import ShapesDataModule
from lit_vision.errors import UserError
from lit_vision.models import SmallCNN

QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
KEY = (
    "BestAndLast{'monitor': 'val/acc', 'mode': 'max', 'every_n_train_steps': 0, 'every_n_epochs': 1, "
    "'train_time_interval': None}"
)


def fit(folder, epochs, ckpt_path=None, *callbacks, **options):
    data = ShapesDataModule(train_size=50, test_size=10, val_size=10, batch_size=10)
    trainer = Trainer(
        default_root_dir=folder, max_epochs=epochs, callbacks=[BestAndLast(), *callbacks], **{**QUIET, **options}
    )
    trainer.fit(SmallCNN(class_names=data.class_names), data, ckpt_path=ckpt_path)
    return trainer.checkpoint_callbacks[0]


def test_its_name_in_checkpoints_stays(tmp_path):
    callback = BestAndLast(every_n_steps=3)
    assert callback.state_key == KEY
    fit(tmp_path, 1)
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert set(state["callbacks"][KEY]) == {
        "monitor",
        "best_model_score",
        "best_model_path",
        "current_score",
        "dirpath",
        "best_k_models",
        "kth_best_model_path",
        "kth_value",
        "last_model_path",
        "epoch",
    }


def test_a_run_that_was_moved_continues_with_its_best(tmp_path):
    before = fit(tmp_path / "here", 1)
    (tmp_path / "here").rename(tmp_path / "there")
    checkpoints = tmp_path / "there" / "checkpoints"
    after = fit(tmp_path / "there", 1, checkpoints / "last.ckpt")  # which is over at once
    assert after.best_model_path == str(checkpoints / "best.ckpt")
    assert after.best_model_score == before.best_model_score


def test_a_run_in_another_folder_finds_its_own_best(tmp_path):
    fit(tmp_path / "one", 1)
    last = tmp_path / "one" / "checkpoints" / "last.ckpt"
    other = fit(tmp_path / "two", 2, last)
    assert other.best_model_path == str(tmp_path / "two" / "checkpoints" / "best.ckpt")
    assert sorted(path.name for path in last.parent.iterdir()) == ["best.ckpt", "last.ckpt"]


def test_short_epochs_write_last_once_a_second_and_at_the_end(tmp_path, monkeypatch):
    epochs, now = [], [0.0]

    class Clock(Callback):
        def on_train_epoch_end(self, *_):
            now[0] += 0.4

    save = BestAndLast._save_last
    monkeypatch.setattr(
        BestAndLast, "_save_last", lambda self, trainer: (epochs.append(trainer.current_epoch), save(self, trainer))
    )
    monkeypatch.setattr(checkpoint, "time", SimpleNamespace(monotonic=lambda: now[0]))
    fit(tmp_path, 8, None, Clock())
    assert epochs == [0, 3, 6, 7]


def test_without_validation_there_is_a_last_and_no_best(tmp_path, recwarn):
    callback = fit(tmp_path, 1, limit_val_batches=0)
    assert callback.best_model_path == ""
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]
    assert not [warning for warning in recwarn if "monitored" in str(warning.message)]


def test_a_trial_run_writes_nothing(tmp_path):
    fit(tmp_path, 1, fast_dev_run=True)
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize("options", [{"every_n_steps": 0}, {"every_n_minutes": -1.0}])
def test_an_interval_that_is_not_above_0_is_an_error(options):
    (name,) = options
    with pytest.raises(UserError, match=f"{name} .* is too small: set --checkpoint.{name} to more than 0"):
        BestAndLast(**options)
