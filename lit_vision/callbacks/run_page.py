from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.tensorboard.summary import hparams

from lit_vision.callbacks.tensorboard import writers
from lit_vision.models.modules import in_eval_mode
from lit_vision.plots import CHARTS

_METRICS = ("val/acc", "val/loss", "train/acc", "train/loss")


class TensorBoardSummary(Callback):
    """What TensorBoard knows of a run from its start: charts, config, options with their outcome, the network's graph.

    HParams has a row for each run, with the options and the newest value of each metric.

    Args:
        config: of the run, as YAML.
        options: values by name.
    """

    def __init__(self, config: str, options: Mapping[str, Any]) -> None:
        self.config = config
        self.options = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in options.items()
        }

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write it all."""
        for writer in writers(trainer):
            charts = {chart: ["Multiline", [f"train/{key}", f"val/{key}"]] for chart, key in CHARTS.items()}
            writer.add_custom_scalars({"train and validation": charts})
            indented = "\n".join(f"    {line}" for line in self.config.splitlines())  # code, in Markdown
            writer.add_text("config", indented, trainer.global_step)
            # not add_hparams, which makes a run of its own, nor Lightning's, which writes values for the metrics
            experiment, start, _ = hparams(self.options, dict.fromkeys(_METRICS, 0.0))
            writer.file_writer.add_summary(experiment)
            writer.file_writer.add_summary(start)
            image = pl_module.example_input_array.to(pl_module.device)  # type: ignore[union-attr]
            with in_eval_mode(pl_module), torch.no_grad():
                trace = torch.jit.trace(pl_module, image, check_trace=False)  # which would take two passes more
            writer.add_graph(trace, image)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell HParams that the run is complete."""
        for writer in writers(trainer):
            writer.file_writer.add_summary(hparams(self.options, {})[2])
