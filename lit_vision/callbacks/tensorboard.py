"""The pages of a run in TensorBoard, and its writers."""

import re
from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from torch import Tensor
from typing_extensions import override

from lit_vision.callbacks.epoch_log import best_epoch
from lit_vision.models.modules import in_eval_mode
from lit_vision.plots import CHARTS
from lit_vision.utils.log import log_info

if TYPE_CHECKING:  # importing TensorBoard takes most of a second, which the first writer pays
    from tensorboard.compat.proto.summary_pb2 import Summary
    from torch.utils.tensorboard import SummaryWriter

_METRICS = {"best/acc": "val/acc", "best/loss": "val/loss", "best/epoch": "epoch"}
"""Tags of HParams, each with what it is in a row of the epoch log: the figures of best.ckpt."""


class TensorBoardSummary(Callback):
    """Writes charts, config and options of a run at its start, and the network's graph after the first epoch.

    Custom Scalars has train and validation in one chart for loss and one for accuracy. HParams has a row for each run,
    with its options and the figures of its best epoch, which the summary of fit shows. The graph needs the model's
    ``example_input_array``.

    Args:
        config: the run's config as YAML.
        options: the run's options, values by name, for the columns of HParams.
        graph: whether to write the graph.
    """

    def __init__(self, config: str, options: Mapping[str, object], graph: bool = True) -> None:
        self.config = config
        self.graph = graph
        self.options = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in options.items()
        }
        self._graph_shown = False
        self._best: Mapping[str, float] | None = None

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write everything that is known at the start and takes almost no time, so that even a killed run has it."""
        self._graph_shown = not self.graph
        for writer in writers(trainer):
            from torch.utils.tensorboard.summary import hparams

            charts = {chart: ["Multiline", [f"train/{key}", f"val/{key}"]] for chart, key in CHARTS.items()}
            writer.add_custom_scalars({"train and validation": charts})
            code = "\n".join(f"    {line}" for line in _model_first(self.config).splitlines())  # indented, as Markdown
            writer.add_text("config", code, trainer.global_step)
            # add_hparams would make a second run, and Lightning's method would log values of the metrics
            experiment, start, _ = hparams(self.options, dict.fromkeys(_METRICS, 0.0))
            _add(writer, experiment)
            _add(writer, start)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the graph, which takes longer, once the first epoch is over."""
        if self._graph_shown:
            return
        self._graph_shown = True
        if isinstance(pl_module.example_input_array, Tensor):
            image = pl_module.example_input_array.to(pl_module.device)
            for writer in writers(trainer):
                _add_graph(writer, pl_module, image)

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._show_best(trainer)

    def _show_best(self, trainer: Trainer) -> None:
        """Write the figures of the best epoch, if it is another than before."""
        best = best_epoch(trainer)
        if best is None or best == self._best:
            return
        self._best = best
        for writer in writers(trainer):
            for tag, name in _METRICS.items():
                if name in best:
                    writer.add_scalar(tag, best[name], trainer.global_step)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Mark the run as complete in HParams."""
        self._show_best(trainer)
        for writer in writers(trainer):
            from torch.utils.tensorboard.summary import hparams

            _add(writer, hparams(self.options, {})[2])


def writers(trainer: Trainer) -> list["SummaryWriter"]:
    """Return the writers of the run's TensorBoard loggers; none on ranks other than 0."""
    loggers = trainer.loggers if trainer.is_global_zero else []
    return [logger.experiment for logger in loggers if isinstance(logger, TensorBoardLogger)]


def add_picture(writer: "SummaryWriter", tag: str, picture: Image.Image, step: int) -> None:
    """Show a picture as a JPEG: SummaryWriter's own PNG takes 40 times as long to make and three times the space."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    content = BytesIO()
    picture.save(content, "jpeg", quality=92, subsampling=0)
    image = Summary.Image(
        height=picture.height, width=picture.width, colorspace=3, encoded_image_string=content.getvalue()
    )
    _add(writer, Summary(value=[Summary.Value(tag=tag, image=image)]), step)


def _add_graph(writer: "SummaryWriter", model: LightningModule, image: Tensor) -> None:
    try:
        with in_eval_mode(model), torch.no_grad():
            trace = torch.jit.trace(model, image, check_trace=False)  # checking would take two more passes
        writer.add_graph(trace, image)
    except Exception as error:  # training goes on without the graph of a network that cannot be traced
        reason = next(iter(str(error).strip().splitlines()), "")
        log_info(f"TensorBoard shows no graph of this network ({type(error).__name__}: {reason})")


def _add(writer: "SummaryWriter", summary: "Summary", step: int | None = None) -> None:
    assert writer.file_writer is not None  # only a closed writer has none
    writer.file_writer.add_summary(summary, step)


def _model_first(config: str) -> str:
    """Move the sections ``model`` and ``data`` of a config to the top, where a reader looks for them."""
    sections = re.split(r"^(?=\S)", config, flags=re.MULTILINE)  # each begins with a line that is not indented
    order = {"model": 0, "data": 1}
    return "".join(sorted(sections, key=lambda section: order.get(section.split(":")[0], 2)))
