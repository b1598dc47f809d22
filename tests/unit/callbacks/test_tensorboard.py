import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from lit_vision.callbacks import TensorBoardSummary
from lit_vision.callbacks.tensorboard import writers
from lit_vision.data import ShapesDataModule
from lit_vision.models import SmallCNN

CONFIG = """# lightning==2
seed_everything: 0
trainer:
  max_epochs: 1
data:
  class_path: ShapesDataModule
model:
  class_path: SmallCNN
  init_args:
    lr: 0.01
name: shapes
"""


class Normed(SmallCNN):
    def __init__(self, **options):
        super().__init__(**options)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, image):
        return super().forward(self.norm(image))


def fit(folder, *callbacks, model=SmallCNN, **options):
    data = ShapesDataModule(train_size=50, test_size=10, val_size=10, batch_size=10)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    options = {"max_epochs": 2, "log_every_n_steps": 1, **quiet, **options}
    logger = TensorBoardLogger(folder, "shapes")
    page = TensorBoardSummary(CONFIG, {"lr": 0.01, "size": None, "compile": True})
    torch.manual_seed(0)
    network = model(class_names=data.class_names)
    Trainer(accelerator="cpu", logger=logger, callbacks=[page, *callbacks], **options).fit(network, data)
    return network


def events(folder):
    return EventAccumulator(str(folder / "shapes" / "version_0")).Reload()


def test_the_text_shows_model_and_data_first(tmp_path):
    fit(tmp_path)
    text = events(tmp_path).Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    lines = [line.removeprefix("    ") for line in text.splitlines()]
    assert [line for line in lines if not line.startswith(" ")] == [
        "model:",
        "data:",
        "# lightning==2",
        "seed_everything: 0",
        "trainer:",
        "name: shapes",
    ]
    assert sorted(lines) == sorted(CONFIG.splitlines())


def test_a_run_that_is_stopped_early_has_charts_and_config(tmp_path):
    class Stop(Callback):
        def on_train_batch_start(self, trainer, *_):
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fit(tmp_path, Stop())
    written = events(tmp_path)
    tags = written.Tags()
    assert {"config/text_summary", "custom_scalars__config__"} <= set(tags["tensors"])
    assert written.SummaryMetadata("_hparams_/session_start_info")
    assert not tags["graph"]


def test_the_graph_comes_once_after_the_first_epoch_and_does_not_change_training(tmp_path, monkeypatch):
    traced = []
    trace = torch.jit.trace

    def note(model, *args, **kwargs):
        if isinstance(model, Normed):  # SummaryWriter calls it again with what was traced
            traced.append(model.trainer.global_step)
        return trace(model, *args, **kwargs)

    monkeypatch.setattr(torch.jit, "trace", note)
    with_graph = fit(tmp_path / "one", model=Normed)
    assert traced == [4]
    assert events(tmp_path / "one").Graph().node
    monkeypatch.setattr(TensorBoardSummary, "on_train_epoch_end", lambda *_: None)
    without = fit(tmp_path / "two", model=Normed)
    assert all(torch.equal(tensor, without.state_dict()[name]) for name, tensor in with_graph.state_dict().items())


def test_a_network_that_cannot_be_traced_is_trained_without_a_graph(tmp_path, caplog):
    class Odd(SmallCNN):
        def forward(self, image):
            if torch.jit.is_tracing():
                raise TypeError("cannot be traced")
            return super().forward(image)

    fit(tmp_path, model=Odd)
    assert not events(tmp_path).Tags()["graph"]
    assert "TensorBoard shows no graph of this network (TypeError: cannot be traced)" in caplog.text


def test_there_are_no_writers_without_a_tensorboard_logger():
    assert writers(Trainer(logger=False, accelerator="cpu")) == []
