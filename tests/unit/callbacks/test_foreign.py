"""Callbacks in a Trainer whose model and data are not ours do what they can, and nothing else."""

import math

import lightning.pytorch as L
import pytest
import torch
from helpers import rows_of
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lit_vision.callbacks import (
    BestAndLast,
    EpochBar,
    EpochLog,
    OneThreadForSmallBatches,
    Pictures,
    TensorBoardSummary,
    TerminateOnNaN,
    TestReport,
)
from lit_vision.data import ShapesDataModule
from lit_vision.errors import UserError


class Foreign(L.LightningModule):
    """A regression, which logs nothing by default."""

    def __init__(self, logs=(), bad=False, returns="tensor"):
        super().__init__()
        self.net = nn.Linear(3, 1)
        self.logs = logs
        self.bad = bad
        self.returns = returns

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.mse_loss(self(x), y) * (math.nan if self.bad else 1)
        for name in self.logs:
            if name.startswith("train"):
                self.log(name, loss, on_step=False, on_epoch=True)
        if self.returns == "none":
            return None
        return loss if self.returns == "tensor" else {"loss": loss, "more": 1}

    def validation_step(self, batch, batch_idx):
        x, y = batch
        for name in self.logs:
            if name.startswith("val"):
                self.log(name, nn.functional.mse_loss(self(x), y))

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


def loader():
    x = torch.arange(60.0).view(20, 3) / 60
    return DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=5)


def trainer(folder, epochs=2, **options):
    callbacks = [
        TerminateOnNaN(),
        EpochLog(),
        TensorBoardSummary("model: mine", {"lr": 0.01, "more": None}),
        OneThreadForSmallBatches(),
        BestAndLast(every_n_steps=3),
        Pictures(every_n_validations=1, embedding=True),
        TestReport(folder / "report", "best.ckpt"),
    ]
    options = {"enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1, **options}
    return L.Trainer(
        default_root_dir=folder,
        max_epochs=epochs,
        accelerator="cpu",
        logger=TensorBoardLogger(folder, "mine"),
        callbacks=[*callbacks, *([EpochBar()] if options["enable_progress_bar"] else [])],
        **options,
    )


@pytest.mark.parametrize("returns", ["tensor", "dict", "none"])
@pytest.mark.parametrize("bar", [False, True])
def test_a_foreign_model_with_data_loaders(tmp_path, returns, bar):
    fitted = trainer(tmp_path, enable_progress_bar=bar)
    model = Foreign(returns=returns)
    fitted.fit(model, loader(), loader())
    fitted.test(model, loader(), verbose=False)
    run = tmp_path / "mine" / "version_0"
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["last.ckpt"]
    rows = rows_of(run)
    assert [(row["epoch"], row["lr"], row["train/loss"]) for row in rows] == [("1", "0.01", ""), ("2", "0.01", "")]
    events = EventAccumulator(str(run)).Reload()
    assert events.Tags()["images"] == []
    assert "lr" in events.Tags()["scalars"]
    assert "config/text_summary" in events.Tags()["tensors"]
    assert not (tmp_path / "report").exists()


def test_a_foreign_model_that_logs_our_names_has_rows_and_a_best(tmp_path):
    fitted = trainer(tmp_path)
    fitted.fit(Foreign(logs=("train/loss", "val/loss", "val/acc")), loader(), loader())
    run = tmp_path / "mine" / "version_0"
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    for row in rows_of(run):
        assert float(row["train/loss"]) > 0
        assert float(row["val/loss"]) > 0
        assert row["train/acc"] == ""
    assert (run / "curves.png").is_file()


def test_a_foreign_model_that_is_resumed_ends_the_same(tmp_path):
    L.seed_everything(0)
    trainer(tmp_path / "whole", 2).fit(Foreign(), loader(), loader())
    L.seed_everything(0)
    trainer(tmp_path / "parts", 1).fit(Foreign(), loader(), loader())
    last = tmp_path / "parts" / "mine" / "version_0" / "checkpoints" / "last.ckpt"
    resumed = trainer(tmp_path / "parts", 2)
    resumed.fit(Foreign(), loader(), loader(), ckpt_path=last)
    states = [
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (tmp_path / "whole" / "mine" / "version_0", tmp_path / "parts" / "mine" / "version_1")
    ]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_foreign_loss_that_is_nan_stops_the_run(tmp_path):
    with pytest.raises(UserError, match=r"the loss is nan at step 1, in epoch 1, with lr 0\.01"):
        trainer(tmp_path).fit(Foreign(bad=True), loader(), loader())
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_foreign_model_without_an_optimizer(tmp_path):
    class Still(Foreign):
        def configure_optimizers(self):
            return None

    fitted = trainer(tmp_path, 1)
    fitted.fit(Still(), loader(), loader())
    assert rows_of(tmp_path / "mine" / "version_0")[0]["lr"] == ""


def test_a_foreign_model_with_our_data(tmp_path):
    class OnImages(Foreign):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Flatten(), nn.LazyLinear(10))
            self.example_input_array = torch.zeros(1, 3, 32, 32)
            self.net(self.example_input_array)

        def training_step(self, batch, batch_idx):
            return nn.functional.cross_entropy(self(batch.image), batch.label)

        def validation_step(self, batch, batch_idx):
            return self(batch.image)

        test_step = validation_step

    fitted = trainer(tmp_path)
    model = OnImages()
    data = ShapesDataModule(train_size=50, test_size=10, val_size=10, batch_size=10)
    fitted.fit(model, data)
    fitted.test(model, data, verbose=False)
    events = EventAccumulator(str(tmp_path / "mine" / "version_0")).Reload()
    assert events.Tags()["images"] == []
    assert events.Graph().node
    assert not (tmp_path / "report").exists()
