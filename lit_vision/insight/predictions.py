"""The predictions that a report keeps for each image."""

import csv
from pathlib import Path
from typing import NamedTuple

from lit_vision.errors import UserError
from lit_vision.runs import PREDICTIONS


class Predicted(NamedTuple):
    """The prediction for an image.

    Attributes:
        label: its true class.
        predicted: its predicted class.
    """

    label: str
    predicted: str

    @property
    def is_right(self) -> bool:
        """Whether the classes are the same."""
        return self.label == self.predicted


def read_predictions(report: Path) -> dict[str, Predicted]:
    """Read the predictions of a report, by the names of the images.

    Args:
        report: folder of the report.

    Raises:
        UserError: the file is missing, or is not a table of predictions.
    """
    path = report / PREDICTIONS
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            return {row["image"]: Predicted(row["label"], row["predicted"]) for row in csv.DictReader(file)}
    except FileNotFoundError as error:
        raise UserError(f"{report} has no {PREDICTIONS}: run lit-vision test or validate on its checkpoint") from error
    except (KeyError, csv.Error) as error:
        raise UserError(f"{path} is not a table of predictions: run lit-vision test or validate again") from error
