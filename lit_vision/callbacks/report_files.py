"""The files of a report: text, tables and pictures about the predictions for a split."""

import csv
import re
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lit_vision.insight.intervals import with_interval
from lit_vision.metrics import Predictions
from lit_vision.models.calibration import calibration_error
from lit_vision.plots import Tile, as_png, plot_confusion, plot_grid, plot_reliability
from lit_vision.runs import PREDICTIONS, REPORT_TEXT
from lit_vision.utils.text import as_cell, as_code, printable

_SMALLEST_SIDE, _LARGEST_SIDE = 192, 384  # pixels of a picture
_FIGURES = ("precision", "recall", "f1")

MISTAKES = 32
"""Pictures of mistakes in a report."""

OPTIONAL_FILES = {"mistakes.csv", "mistakes.png", "heatmaps.png"}
"""Files that a report has only if there are mistakes."""


class Answers(NamedTuple):
    """What the network says if it answers only what it is certain of.

    Attributes:
        accept: the accuracy that was asked for.
        threshold: the lowest probability at which it answers, which validation images gave.
        answered: number of images that it answers.
        right: number of those that it gets right.
    """

    accept: float
    threshold: float
    answered: int
    right: int

    def text(self, images: int) -> str:
        """Say it in a line.

        Args:
            images: number of all images.
        """
        share = f"answers {self.answered / images:.1%} of {images:,} images, those with a probability of at least"
        right = with_interval(self.right / self.answered, self.answered) if self.answered else "none"
        return f"{share} {self.threshold:.4f}; accuracy on these {right}, {self.accept:.4g} was asked for"


class Report(NamedTuple):
    """What a report is made from.

    Attributes:
        title: its title.
        facts: facts such as the checkpoint, data and date: values by name.
        loss: mean loss; None if it is not known.
        predictions: those for the images of the split.
        class_names: a name for each class.
        names: a name for each image of the split: its file, or its position.
        tiles: the most confident mistakes.
        heatmaps: the same mistakes with what speaks for the predicted class; empty if there is nothing to show.
        calibrated: what calibrated the probabilities, in words; None if nothing did.
        answers: see :class:`Answers`; None if that was not asked for.
        more: further columns of the tables, with a value for each image of the split.
    """

    title: str
    facts: Mapping[str, str]
    loss: float | None
    predictions: Predictions
    class_names: Sequence[str]
    names: Sequence[str]
    tiles: Sequence[Tile]
    heatmaps: Sequence[Tile]
    calibrated: str | None
    answers: Answers | None
    more: Mapping[str, Sequence[str]] = {}

    @property
    def accuracy(self) -> str:
        """The accuracy with its interval, in words."""
        right = int((self.predictions.predicted == self.predictions.label).sum())
        return with_interval(right / len(self.predictions.label), len(self.predictions.label))

    def files(self) -> dict[str, bytes]:
        """Make all files, by their names."""
        rows, mistakes = _per_class(self.predictions, self.class_names), self.predictions.mistakes()
        matrix = self.predictions.confusion(len(self.class_names))
        correct = self.predictions.predicted == self.predictions.label
        files = {
            REPORT_TEXT: self._markdown(rows, len(mistakes.index)).encode(),
            "per_class.csv": _table(rows),
            PREDICTIONS: self.predictions_table(),
            "confusion.png": as_png(plot_confusion(matrix, self.class_names)),
            "reliability.png": as_png(plot_reliability(self._certainty(), correct)),
        }
        if len(mistakes.index):
            files["mistakes.csv"] = _table(self._rows(mistakes))
        for name, tiles in (("mistakes.png", self.tiles), ("heatmaps.png", self.heatmaps)):
            if tiles:
                side = min(max(_SMALLEST_SIDE, *tiles[0].image.shape[1:]), _LARGEST_SIDE)
                files[name] = as_png(plot_grid(tiles, side=side))
        return files

    def predictions_table(self) -> bytes:
        """Make the table of all predictions."""
        return _table(self._rows(self.predictions))

    def _rows(self, predictions: Predictions) -> list[dict[str, Any]]:
        columns = zip(*(column.tolist() for column in predictions), strict=True)
        return [
            {
                "image": self.names[index],
                "label": printable(self.class_names[label]),
                "predicted": printable(self.class_names[predicted]),
                "probability": f"{probability:.6g}",
                "uncalibrated": f"{uncalibrated:.6g}",
                **{name: values[index] for name, values in self.more.items()},
            }
            for index, label, predicted, probability, uncalibrated in columns
        ]

    def _certainty(self) -> dict[str, Tensor]:
        """The probabilities of the predicted classes before and after calibration, by the title of their chart."""
        kinds = {"as the network gives them": self.predictions.uncalibrated}
        if self.calibrated is not None:
            kinds[f"calibrated by {self.calibrated}"] = self.predictions.probability
        return {f"{kind}\nECE {self._error(values):.4f}": values for kind, values in kinds.items()}

    def _error(self, confidence: Tensor) -> float:
        return calibration_error(confidence, self.predictions.predicted == self.predictions.label)

    def calibration(self) -> str:
        """Say how well calibrated the network is."""
        before = self._error(self.predictions.uncalibrated)
        if self.calibrated is None:
            return f"expected calibration error {before:.4f}; the checkpoint was not calibrated"
        after = self._error(self.predictions.probability)
        return f"expected calibration error {after:.4f}, {before:.4f} without {self.calibrated}"

    def _markdown(self, rows: Sequence[Mapping[str, Any]], mistakes: int) -> str:
        images = len(self.predictions.index)
        loss = "" if self.loss is None else f"; loss {self.loss:.4f}"
        lines = [
            f"# {self.title}",
            "",
            f"Accuracy {self.accuracy}{loss}; mistakes: {mistakes:,}.",
            "",
            *(f"- {name}: {as_code(value)}" for name, value in self.facts.items()),
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
            "Recall is the share of a class's images that were recognised. Precision is the share of the images "
            "predicted as a class that belong to it. Support is the number of a class's images.",
            "",
            "## How far the probabilities can be trusted",
            "",
            f"{_sentence(self.calibration())} It is the mean difference between probability and accuracy.",
            "",
        ]
        if self.answers is not None:
            lines += [f"With a threshold, the network {self.answers.text(images)}.", ""]
        lines += ["![How often the network is right, by its probability](reliability.png)", ""]
        if mistakes:
            shown = f"The {min(mistakes, len(self.tiles))} most confident mistakes" if mistakes > 1 else "The mistake"
            lines += ["## Mistakes", "", f"{shown}; all are in [mistakes.csv](mistakes.csv).", ""]
            lines += [f"![{shown}](mistakes.png)", ""]
        if self.heatmaps:
            lines += ["What speaks for the predicted class (LayerCAM):", "", "![Heatmaps](heatmaps.png)", ""]
        return "\n".join(lines)


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


def _table(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows as a CSV file; a file name may have any bytes, which are written unchanged."""
    table = StringIO(newline="")
    writer = csv.DictWriter(table, list(rows[0]))
    writer.writeheader()
    writer.writerows(
        {key: as_cell(value) if isinstance(value, str) else value for key, value in row.items()} for row in rows
    )
    return table.getvalue().encode("utf-8", "surrogateescape")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _cell(text: str) -> str:
    """Escape text for a cell of a Markdown table, so that it is shown as it is."""
    return " ".join(re.sub(r"([\\`*_|<>\[\]$&#~])", r"\\\1", text).split())
