"""What TensorBoard shows and the test report says, from the command line."""

import csv
import re
from io import BytesIO
from pathlib import Path

import pytest
import torch
from helpers import metrics_in, rows_of
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch import nn

from lit_vision.callbacks import TensorBoardSummary
from lit_vision.models import SmallCNN

QUICK = "--data.train_size 300 --data.val_size 100 --data.test_size 100 --trainer.accelerator cpu --trainer.max_epochs"
RUN = Path("lightning_logs/shapes/version_0")
PICTURES = ["val/images", "val/mistakes", "val/confusion"]


def events(run=RUN):
    return EventAccumulator(str(run), {"images": 0}).Reload()


def hparams(written, name):
    return HParamsPluginData.FromString(written.SummaryMetadata(f"_hparams_/{name}").plugin_data.content)


@pytest.mark.slow
def test_tensorboard_has_pictures_config_graph_and_hyperparameters(cli):
    result = cli(f"fit --config shapes.yaml {QUICK} 2 --pictures.every_n_validations 1 --data.augment [rotate]")
    assert (result.code, result.err) == (0, "")
    written = events()
    assert {tag: len(written.Images(tag)) for tag in written.Tags()["images"]} == {
        "train/images": 1,
        **dict.fromkeys(PICTURES, 2),
    }
    picture = Image.open(BytesIO(written.Images("val/images")[-1].encoded_image_string))
    assert picture.size == (4 * 140, 5 * (128 + 2 * 18 + 12))
    assert written.Graph().node
    assert "SmallCNN" in written.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    start, experiment = hparams(written, "session_start_info"), hparams(written, "experiment")
    assert start.session_start_info.hparams["lr"].number_value == 0.01
    assert start.session_start_info.hparams["augment"].string_value == "['rotate']"
    metrics = [info.name.tag for info in experiment.experiment.metric_infos]
    assert metrics == ["best/acc", "best/loss", "best/epoch"]
    best = max(rows_of(RUN), key=lambda row: float(row["val/acc"]))
    shown = {tag: written.Scalars(tag)[-1].value for tag in metrics}
    expected = {"best/acc": best["val/acc"], "best/loss": best["val/loss"], "best/epoch": best["epoch"]}
    assert shown == pytest.approx({tag: float(value) for tag, value in expected.items()}, abs=1e-6)
    assert set(metrics) <= set(written.Tags()["scalars"])
    assert "hp_metric" not in written.Tags()["scalars"]


@pytest.mark.slow
@pytest.mark.parametrize(("every", "count"), [("2", 2), ("0", 0), ("null", 1)])  # of 3, and the last is always drawn
def test_how_often_pictures_are_drawn(cli, every, count):
    assert cli(f"fit --config shapes.yaml {QUICK} 3 --pictures.every_n_validations {every}").code == 0
    written = events()
    shown = written.Tags()["images"]
    assert [tag for tag in PICTURES if tag in shown] == (PICTURES if count else [])
    assert all(len(written.Images(tag)) == count for tag in PICTURES if tag in shown)


@pytest.mark.slow
def test_the_last_validation_is_drawn_wherever_the_run_ends(cli):
    assert cli(f"fit --config shapes.yaml {QUICK} -1 --trainer.max_steps 9").code == 0
    assert set(PICTURES) <= set(events().Tags()["images"])


@pytest.mark.slow
def test_class_names_are_text_whatever_they_hold(cli, folders):
    names = {r"$\frac{$": 3, "a|b": 3, "x" * 200: 3}
    root = folders({"train": names, "val": names})
    options = f"--data.root {root} --data.image_size 32 --trainer.max_epochs 1 --trainer.accelerator cpu"
    assert cli(f"fit --config folder.yaml {options}").code == 0
    assert cli("test --ckpt_path last").code == 0
    text = Path("lightning_logs/folder/version_0/checkpoints/report/report.md").read_text()
    assert r"| a\|b | " in text


@pytest.mark.slow
def test_a_trial_run_writes_no_report(cli):
    cli(f"fit --config shapes.yaml {QUICK} 1")
    assert cli("test --ckpt_path last --trainer.fast_dev_run true").code == 0
    assert not list(RUN.rglob("report.md"))


def test_drawing_the_graph_leaves_the_network_as_it_was(tmp_path):
    class Normed(SmallCNN):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, image):
            return super().forward(self.norm(image))

    model = Normed()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    page = TensorBoardSummary("config: 1", {"lr": 1.0})
    model.trainer = Trainer(logger=TensorBoardLogger(tmp_path), accelerator="cpu")
    page.on_train_start(model.trainer, model)
    page.on_train_epoch_end(model.trainer, model)
    model.trainer.logger.finalize("success")
    assert events(next(tmp_path.rglob("events*")).parent).Graph().node
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("fit --pictures.count 0", "count 0 is below 1"),
        ("fit --pictures.every_n_validations -1", "every_n_validations -1 is below 0"),
        ("lr-find --num_training 0", "num_training 0 is too small"),
        ("lr-find --min_lr 2", "min_lr 2.0 must be above 0 and below max_lr 1.0"),
        ("lr-find --trainer.fast_dev_run true", "fast_dev_run finds no learning rate"),
    ],
)
def test_what_the_user_can_fix_is_one_line(cli, line, message):
    result = cli(f"{line} --trainer.accelerator cpu")
    assert result.code == 2
    assert message in result.err
    assert result.err.count("\n") == 1
    assert not [path for path in Path().rglob("*") if path.is_file()]


@pytest.mark.slow
def test_the_projector_gets_an_embedding_on_request(cli):
    assert cli(f"fit --config shapes.yaml {QUICK} 1 --pictures.embedding true").code == 0
    (table,) = RUN.rglob("tensors.tsv")
    assert [len(line.split("\t")) for line in table.read_text().splitlines()] == [120] * 100
    assert len((table.parent / "metadata.tsv").read_text().split()) == 100
    assert Image.open(table.parent / "sprite.png").size == (320, 320)


@pytest.mark.slow
def test_the_embedding_shows_images_as_they_are(cli):
    for augment in ("[]", "[rotate,jitter]"):
        line = f"--model.lr 1e-30 --pictures.embedding true --data.augment {augment}"  # no weight moves
        assert cli(f"fit --config shapes.yaml {QUICK} 1 {line}").code == 0
    tables = [path.read_text() for path in RUN.parent.rglob("tensors.tsv")]
    assert len(tables) == 2
    assert tables[0] == tables[1]


@pytest.mark.slow
def test_the_report_agrees_with_the_logged_figures(cli):
    cli(f"fit --config shapes.yaml {QUICK} 2")
    tested = metrics_in(cli("test --ckpt_path best").out)
    report = RUN / "checkpoints" / "report"
    assert {"confusion.png", "mistakes.png", "per_class.csv", "report.md"} <= {path.name for path in report.iterdir()}
    with (report / "per_class.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["class", "precision", "recall", "f1", "support"]
    assert [int(row["support"]) for row in rows] == [10] * 10
    right = sum(float(row["recall"]) * int(row["support"]) for row in rows)
    assert right / 100 == pytest.approx(tested["test/acc"])
    text = (report / "report.md").read_text()
    assert f"Accuracy {tested['test/acc']:.4f} (" in text
    assert f"; loss {tested['test/loss']:.4f}; mistakes: {100 - round(right)}." in text
    files = set(re.findall(r"\]\((\S+)\)", text))
    assert files == {"confusion.png", "reliability.png", "mistakes.csv", "mistakes.png", "heatmaps.png"}
    assert files <= {path.name for path in report.iterdir()}
    assert "test/acc" not in rows_of(RUN)[0]


@pytest.mark.slow
def test_lr_find_suggests_and_leaves_no_run_behind(cli):
    result = cli("lr-find --config shapes.yaml --trainer.accelerator cpu")
    assert result.code == 0, result.err
    (line,) = (line for line in result.out.splitlines() if line.startswith("suggestion"))
    assert 0.003 < float(line.split()[1].rstrip(",")) < 0.3
    assert sorted(path.name for path in Path("lightning_logs").rglob("*")) == ["lr_find.png", "shapes"]
    assert Image.open("lightning_logs/shapes/lr_find.png").width > 500
    assert not list(Path().glob(".lr_find*"))
