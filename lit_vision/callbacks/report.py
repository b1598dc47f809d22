"""The report of a test: a folder to read or to send."""

import csv
import re
from collections.abc import Sequence
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor
from typing_extensions import override

from lit_vision.callbacks.pictures import prediction_tiles
from lit_vision.data.datamodule import image_data
from lit_vision.data.loader import BatchLoader
from lit_vision.data.sources.files import FileDataModule
from lit_vision.metrics import PredictionCollector, Predictions
from lit_vision.models.classifier import Classifier
from lit_vision.plots import Tile, as_png, plot_confusion, plot_grid
from lit_vision.runs import run_of
from lit_vision.utils.files import write_together
from lit_vision.utils.text import as_cell, printable

_MISTAKES = 32  # pictures
_SIDE = 192  # pixels of a picture
_FIGURES = ("precision", "recall", "f1")


class TestReport(Callback):
    """Writes the results of a test: report.md, confusion.png, per_class.csv and, if there are mistakes, mistakes.png.

    It does nothing for a model that is not a Classifier, or for data that is not an ImageDataModule.

    Args:
        folder: the folder to write to; the report of an earlier test in it is replaced.
        checkpoint: the checkpoint file that is tested.
        command: the command line of the test, to show in the report; None if there is none.
    """

    __test__ = False  # tells pytest that this is not a test case

    def __init__(self, folder: Path, checkpoint: str | Path, command: str | None = None) -> None:
        self.folder = folder
        self.checkpoint = Path(checkpoint)
        self.command = command
        self._collector: PredictionCollector | None = None
        self._made_by: dict[str, Any] = {}

    @override
    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._made_by = dict((checkpoint.get("provenance") or [{}])[-1])

    @override
    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loader = trainer.test_dataloaders
        self._collector = None
        if isinstance(loader, BatchLoader) and isinstance(pl_module, Classifier):
            self._collector = PredictionCollector(loader, pl_module.device)

    @override
    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._collector is not None and isinstance(outputs, Tensor):
            self._collector.add(batch, outputs)

    @override
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the report."""
        loader = trainer.test_dataloaders
        if self._collector is None or not isinstance(pl_module, Classifier) or not isinstance(loader, BatchLoader):
            return
        predictions = self._collector.predictions(trainer)
        if trainer.is_global_zero and len(predictions.index):
            metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
            tiles = prediction_tiles(
                loader, predictions.mistakes().first(_MISTAKES), pl_module.class_names, _paths(trainer)
            )
            self._write(predictions, pl_module.class_names, tiles, metrics, self._facts(trainer, pl_module))

    def _facts(self, trainer: Trainer, model: Classifier) -> dict[str, str]:
        """Collect facts about the test, such as its checkpoint, data and date: values by name."""
        data, run = image_data(trainer), run_of(self.checkpoint)
        facts = {"checkpoint": str(self.checkpoint), "model": type(model).__name__}
        if run is not None:
            facts = {"run": "/".join(run.parts[-2:]), **facts}
        if data is not None:
            folder = f", {data.root}" if isinstance(data, FileDataModule) else ""
            facts["data"] = f"{type(data).__name__}{folder}"
        facts["date"] = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
        if self.command is not None:
            facts["command"] = self.command
        if self._made_by:
            trained_on = self._made_by.pop("data", {})
            facts["trained by"] = ", ".join(f"{name} {value}" for name, value in self._made_by.items())
            facts["trained on"] = ", ".join(f"{name} {value}" for name, value in trained_on.items())
        return facts

    def _write(
        self,
        predictions: Predictions,
        names: Sequence[str],
        tiles: Sequence[Tile],
        metrics: dict[str, float],
        facts: dict[str, str],
    ) -> None:
        rows, title = _per_class(predictions, names), f"Test of {self.checkpoint.name}"
        text = _markdown(title, facts, metrics, len(predictions.index), len(predictions.mistakes().index), rows)
        table = StringIO(newline="")
        writer = csv.DictWriter(table, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "class": as_cell(row["class"])} for row in rows)
        files = {"report.md": text.encode(), "per_class.csv": table.getvalue().encode()}
        files["confusion.png"] = as_png(plot_confusion(predictions.confusion(len(names)), names))
        if tiles:
            files["mistakes.png"] = as_png(plot_grid(tiles, side=_SIDE))
        write_together(self.folder, files)
        if not tiles:
            (self.folder / "mistakes.png").unlink(missing_ok=True)
        print(f"report {self.folder / 'report.md'}")


def _paths(trainer: Trainer) -> list[Path] | None:
    """Return the files of the test images, or None if the images do not have a file each."""
    data = image_data(trainer)
    split = data.evaluation_split("test") if isinstance(data, FileDataModule) else None
    return data.paths(split) if isinstance(data, FileDataModule) and split else None


def _per_class(predictions: Predictions, names: Sequence[str]) -> list[dict[str, Any]]:
    from torchmetrics.functional.classification import multiclass_f1_score, multiclass_precision, multiclass_recall

    functions = (multiclass_precision, multiclass_recall, multiclass_f1_score)
    figures = {
        name: function(predictions.predicted, predictions.label, num_classes=len(names), average="none").tolist()
        for name, function in zip(_FIGURES, functions, strict=True)
    }
    support = torch.bincount(predictions.label, minlength=len(names)).tolist()
    return [
        {
            "class": printable(name),
            **{key: values[number] for key, values in figures.items()},
            "support": support[number],
        }
        for number, name in enumerate(names)
    ]


def _markdown(
    title: str,
    facts: dict[str, str],
    metrics: dict[str, float],
    images: int,
    mistakes: int,
    rows: Sequence[dict[str, Any]],
) -> str:
    figures = f"Accuracy {metrics['test/acc']:.4f}, loss {metrics['test/loss']:.4f}"
    lines = [
        f"# {title}",
        "",
        f"{figures}: {mistakes:,} mistakes on {images:,} images.",
        "",
        *(f"- {name}: {_code(value)}" for name, value in facts.items()),
        "",
        "![Confusion matrix and recall of each class](confusion.png)",
        "",
        "| class | precision | recall | F1 | support |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(
            f"| {_cell(row['class'])} | {' | '.join(f'{row[key]:.4f}' for key in _FIGURES)} | {row['support']:,} |"
            for row in rows
        ),
        "",
        "Recall is the share of a class's images that were recognised. Precision is the share of the images predicted "
        "as a class that belong to it. Support is the number of a class's images.",
        "",
    ]
    if mistakes:
        shown = f"The {min(mistakes, _MISTAKES)} most confident mistakes" if mistakes > 1 else "The mistake"
        lines += [f"{shown}:", "", f"![{shown}](mistakes.png)", ""]
    return "\n".join(lines)


def _code(text: str) -> str:
    """Format text as code, in one line, which may itself have single backticks."""
    line = printable(" ".join(text.split()))
    return f"`` {line} ``" if "`" in line else f"`{line}`"


def _cell(text: str) -> str:
    """Escape text for a cell of a Markdown table, so that it is shown as it is."""
    return " ".join(re.sub(r"([\\`*_|<>\[\]$&#~])", r"\\\1", text).split())
