"""The predictions that a report keeps for each image."""

import csv
from pathlib import Path
from typing import NamedTuple

from lit_vision.errors import UserError
from lit_vision.runs import PREDICTIONS
from lit_vision.utils.text import from_cell


class Predicted(NamedTuple):
    """The prediction for an image.

    Attributes:
        label: its true class.
        predicted: its predicted class.
        probability: calibrated probability of that class, in [0, 1].
        uncalibrated: the same before it was calibrated.
    """

    label: str
    predicted: str
    probability: float
    uncalibrated: float

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
            return {
                from_cell(row["image"]): Predicted(
                    from_cell(row["label"]),
                    from_cell(row["predicted"]),
                    float(row["probability"]),
                    float(row["uncalibrated"]),
                )
                for row in csv.DictReader(file)
            }
    except FileNotFoundError as error:
        raise UserError(f"{report} has no {PREDICTIONS}: run lit-vision test or validate on its checkpoint") from error
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise UserError(f"{path} is not a table of predictions: run lit-vision test or validate again") from error
