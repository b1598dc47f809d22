import re

import pytest
from lightning.pytorch import Callback, Trainer

from lit_vision.callbacks import EpochBar, EpochLog
from lit_vision.data import ShapesDataModule
from lit_vision.models import SmallCNN


class Rates(Callback):
    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, *_):
        self.seen.append(trainer.progress_bar_callback.refresh_rate)


def fit(bar, train_size=40, epochs=2, **options):
    data = ShapesDataModule(train_size=train_size, test_size=10, val_size=10, batch_size=1)
    rates = Rates()
    quiet = {"logger": False, "enable_model_summary": False, "enable_checkpointing": False, "accelerator": "cpu"}
    trainer = Trainer(max_epochs=epochs, callbacks=[bar, EpochLog(), rates], **quiet, **options)
    trainer.fit(SmallCNN(class_names=data.class_names), data)
    return rates.seen


@pytest.mark.parametrize(("train_size", "rate"), [(40, 1), (260, 2)])
def test_a_bar_is_redrawn_about_a_hundred_times_an_epoch(train_size, rate):
    assert set(fit(EpochBar(), train_size, 1)) == {rate}


def test_a_rarer_rate_and_no_bar_can_be_asked_for():
    assert set(fit(EpochBar(refresh_rate=7), 40, 1)) == {7}
    assert set(fit(EpochBar(refresh_rate=0), 40, 1)) == {0}


def test_epochs_count_from_1_and_lines_are_printed_above_the_bar(capsys):
    fit(EpochBar())
    shown = capsys.readouterr().out.replace("\r", "\n")
    assert "epoch 1/2: 100%" in shown
    assert "epoch 2/2: 100%" in shown
    assert len(re.findall(r"^epoch \d/2  loss", shown, re.MULTILINE)) == 2
    assert "v_num" not in shown


def test_the_bar_shows_the_time_that_is_left_of_the_run(capsys, monkeypatch):
    clock = iter(range(0, 10**6, 6))
    monkeypatch.setattr("lit_vision.callbacks.progress.time.monotonic", lambda: next(clock))
    fit(EpochBar(refresh_rate=40), epochs=3)
    left = re.findall(r"left=([\d:]+)", capsys.readouterr().out)
    assert left[0] == "00:12"  # the first epoch took 6 seconds, and two more are as long
    assert left[-1] == "00:00"


def test_without_a_limit_there_is_no_number_of_epochs(capsys):
    fit(EpochBar(), epochs=-1, max_steps=50)
    assert "epoch 1: " in capsys.readouterr().out.replace("\r", "\n")
