import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torchmetrics.functional.classification import multiclass_f1_score, multiclass_precision, multiclass_recall

from lit_vision.callbacks.outcome import PredictionCollector, Predictions
from lit_vision.callbacks.pictures import prediction_tiles
from lit_vision.data.batch import Batch
from lit_vision.plots import plot_confusion, plot_grid

_MISTAKES = 32
_FIGURES = {"precision": multiclass_precision, "recall": multiclass_recall, "f1": multiclass_f1_score}


class TestReport(Callback):
    """A folder with what a test found, to read or to send: report.md, confusion.png, per_class.csv, mistakes.png.

    Args:
        folder: to write; what an earlier test wrote there is replaced.
        tested: what was tested, for the title.
    """

    __test__ = False  # no test case, for pytest

    def __init__(self, folder: Path, tested: str) -> None:
        self.folder = folder
        self.tested = tested
        self._collector: PredictionCollector | None = None

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Get ready to note what the test finds."""
        self._collector = PredictionCollector(trainer.test_dataloaders, pl_module.device)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        """Note a batch."""
        assert self._collector is not None
        self._collector.add(batch, outputs)

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Write the report."""
        assert self._collector is not None
        outcome = self._collector.outcome(trainer)
        if trainer.is_global_zero:
            metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
            self._write(outcome, pl_module.class_names, trainer.test_dataloaders, metrics)

    def _write(self, outcome: Predictions, names: Sequence[str], loader: Any, metrics: dict[str, float]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        plot_confusion(outcome.confusion(len(names)), names).savefig(self.folder / "confusion.png", dpi=120)
        rows = _per_class(outcome, names)
        with (self.folder / "per_class.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        mistakes = outcome.mistakes()
        (self.folder / "mistakes.png").unlink(missing_ok=True)
        if tiles := prediction_tiles(loader, mistakes.first(_MISTAKES), names):
            plot_grid(tiles).save(self.folder / "mistakes.png")
        text = _markdown(self.tested, metrics, len(outcome.index), len(mistakes.index), rows)
        (self.folder / "report.md").write_text(text, encoding="utf-8")
        print(f"report {self.folder / 'report.md'}")


def _per_class(outcome: Predictions, names: Sequence[str]) -> list[dict[str, Any]]:
    figures = {
        name: metric(outcome.predicted, outcome.label, num_classes=len(names), average="none").tolist()
        for name, metric in _FIGURES.items()
    }
    support = torch.bincount(outcome.label, minlength=len(names)).tolist()
    return [
        {"class": name, **{key: values[number] for key, values in figures.items()}, "support": support[number]}
        for number, name in enumerate(names)
    ]


def _markdown(
    tested: str, metrics: dict[str, float], images: int, mistakes: int, rows: Sequence[dict[str, Any]]
) -> str:
    figures = f"Accuracy {metrics['test/acc']:.4f}, loss {metrics['test/loss']:.4f}"
    lines = [
        f"# Test of {tested}",
        "",
        f"{figures}: {mistakes:,} mistakes on {images:,} images.",
        "",
        "![Confusion matrix and accuracy of each class](confusion.png)",
        "",
        "| class | precision | recall | F1 | support |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(
            f"| {_cell(row['class'])} | {' | '.join(f'{row[key]:.4f}' for key in _FIGURES)} | {row['support']:,} |"
            for row in rows
        ),
        "",
    ]
    if mistakes:
        shown = f"The {min(mistakes, _MISTAKES)} most confident mistakes" if mistakes > 1 else "The mistake"
        lines += [f"{shown}:", "", f"![{shown}](mistakes.png)", ""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Text for a cell of a Markdown table, as it is."""
    return " ".join(re.sub(r"([\\`*_|<>\[\]$&#~])", r"\\\1", text).split())
