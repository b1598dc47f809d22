import csv

import pytest
import torch
from helpers import rows_of
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image

from lit_vision.callbacks import BestAndLast, EpochLog
from lit_vision.data import ShapesDataModule
from lit_vision.models import SmallCNN

COLUMNS = ["epoch", "step", "train/loss", "train/acc", "val/loss", "val/acc", "lr"]
TIMES = ["time/images_per_second", "time/epoch"]


def fit(logger, epochs, *callbacks, ckpt_path=None, **options):
    data = ShapesDataModule(train_size=50, test_size=10, val_size=10, batch_size=10)
    log = EpochLog()
    torch.manual_seed(0)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1}
    Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=logger,
        callbacks=[log, *callbacks, BestAndLast()],
        **quiet,
        **options,
    ).fit(SmallCNN(class_names=data.class_names), data, ckpt_path=ckpt_path)
    return log


def test_each_epoch_has_a_line_and_a_row(tmp_path, capsys):
    log = fit(TensorBoardLogger(tmp_path, "shapes"), 2)
    run = tmp_path / "shapes" / "version_0"
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [*COLUMNS, *TIMES]
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "4"), ("2", "8")]
    assert [{key: str(value) for key, value in row.items()} for row in log.rows] == rows
    assert all(float(row["time/images_per_second"]) > 0 for row in rows)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("epoch")] == [
        f"epoch {row['epoch']}/2  loss {row['train/loss']:.4f}  acc {row['train/acc']:.4f}  "
        f"val_loss {row['val/loss']:.4f}  val_acc {row['val/acc']:.4f}  {row['time/epoch']:.1f} s"
        for row in log.rows
    ]
    assert Image.open(run / "curves.png").width > 600


@pytest.mark.slow
def test_a_resumed_run_continues_its_rows(tmp_path):
    fit(TensorBoardLogger(tmp_path, "whole"), 3)
    fit(TensorBoardLogger(tmp_path, "parts"), 2)
    run = tmp_path / "parts" / "version_0"
    resumed = fit(TensorBoardLogger(tmp_path, "parts", 0), 3, ckpt_path=run / "checkpoints" / "last.ckpt")
    assert [row["epoch"] for row in resumed.rows] == [1, 2, 3]
    assert rows_of(run) == rows_of(tmp_path / "whole" / "version_0")


def test_its_state_in_checkpoints_is_its_rows():
    log = EpochLog()
    log.load_state_dict({"rows": [{"epoch": 1}]})
    assert (log.state_key, log.state_dict()) == ("EpochLog", {"rows": [{"epoch": 1}]})


def test_an_epoch_without_validation_has_no_validation_figures(tmp_path, capsys):
    log = fit(TensorBoardLogger(tmp_path, "shapes"), 1, limit_val_batches=0)
    assert [*log.rows[0]] == ["epoch", "step", "train/loss", "train/acc", "lr", *TIMES]
    assert "val_loss" not in capsys.readouterr().out


def test_lightnings_own_table_is_left_alone(tmp_path):
    fit(CSVLogger(tmp_path, "shapes"), 1)
    header = (tmp_path / "shapes" / "version_0" / "metrics.csv").read_text().splitlines()[0]
    assert header.split(",") != [*COLUMNS, *TIMES]
    assert (tmp_path / "shapes" / "version_0" / "curves.png").is_file()


def test_a_run_that_fails_has_the_curves_of_its_epochs(tmp_path):
    class Fail(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fit(TensorBoardLogger(tmp_path, "shapes"), 2, Fail())
    assert (tmp_path / "shapes" / "version_0" / "curves.png").is_file()
