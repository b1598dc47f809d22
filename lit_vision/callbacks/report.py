"""The reports of validate and test: folders to read or to send."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.types import STEP_OUTPUT
from typing_extensions import override

from lit_vision.callbacks.pictures import prediction_tiles
from lit_vision.callbacks.report_files import MISTAKES, OPTIONAL_FILES, Answers, Report
from lit_vision.data.datamodule import ImageDataModule, image_data
from lit_vision.data.image_names import files_of
from lit_vision.data.loader import BatchLoader
from lit_vision.data.sources.files import FileDataModule
from lit_vision.errors import UserError
from lit_vision.metrics import PredictionCollector, Predictions, are_logits
from lit_vision.models.classifier import Classifier
from lit_vision.models.epoch_metrics import Stage
from lit_vision.models.heatmap import heatmaps, overlay
from lit_vision.plots import Tile
from lit_vision.runs import PREDICTIONS, REPORT_TEXT, run_of
from lit_vision.utils.files import write_together
from lit_vision.utils.log import log_info

_HEATMAPS = 16  # pictures, each of which takes a pass forward and back


class EvaluationReport(Callback):
    """Writes what was found out about a split: report.md, tables of all images and of the mistakes, and pictures.

    It does nothing for a model that is not a Classifier, or for data that is not an ImageDataModule.

    Args:
        folder: the folder to write to; an earlier report in it is replaced.
        checkpoint: the checkpoint file that is evaluated.
        command: the command line, to show in the report; None if there is none.
        accept: also find out how much the network answers if it is to be right in this share of its answers, by a
            threshold that the validation images gave; None for no threshold.
        pictures: whether to write more than the table of all predictions.
    """

    stage: Stage
    word: str
    """What the report is of, for its title."""

    def __init__(
        self,
        folder: Path,
        checkpoint: str | Path,
        command: str | None = None,
        accept: float | None = None,
        pictures: bool = True,
    ) -> None:
        self.folder = folder
        self.checkpoint = Path(checkpoint)
        self.command = command
        self.accept = accept
        self.pictures = pictures
        self._collector: PredictionCollector | None = None
        self._made_by: dict[str, Any] = {}

    @override
    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._made_by = dict((checkpoint.get("provenance") or [{}])[-1])

    def _loader(self, trainer: Trainer) -> object:
        return trainer.test_dataloaders if self.stage == "test" else trainer.val_dataloaders

    def begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Get ready to collect predictions."""
        loader = self._loader(trainer)
        self._collector = None
        if isinstance(loader, BatchLoader) and isinstance(pl_module, Classifier):
            temperature = pl_module.calibration.temperature if pl_module.calibration else 1.0
            self._collector = PredictionCollector(loader, pl_module.device, temperature)

    def add_batch(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect the predictions for a batch."""
        if self._collector is not None and are_logits(outputs, batch):
            self._collector.add(batch, outputs)

    def finish(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the report."""
        model, loader = pl_module, self._loader(trainer)
        if self._collector is None or not isinstance(model, Classifier) or not isinstance(loader, BatchLoader):
            return
        predictions = self._collector.predictions(trainer)
        if not trainer.is_global_zero or not len(predictions.index):
            return
        data, names = image_data(trainer), model.class_names
        mistakes = predictions.mistakes().first(MISTAKES if self.pictures else 0)
        report = Report(
            f"{self.word} of {self.checkpoint.name}",
            self._facts(data, model),
            trainer.callback_metrics[f"{self.stage}/loss"].item(),
            predictions,
            names,
            data.names(self.stage) if data else [str(index) for index in range(len(loader.labels))],
            prediction_tiles(loader, mistakes, names, files_of(loader.images)),
            [] if data is None else _heatmaps(model, data, loader, mistakes.first(_HEATMAPS)),
            f"the temperature {model.calibration.temperature:.3f}" if model.calibration else None,
            self._answers(model, predictions),
        )
        files = report.files() if self.pictures else {PREDICTIONS: report.predictions_table()}
        write_together(self.folder, files, OPTIONAL_FILES)
        if not self.pictures:
            return
        print(f"accuracy    {report.accuracy}")
        print(f"calibration {report.calibration()}")
        if report.answers is not None:
            print(f"accept      {report.answers.text(len(predictions.index))}")
        print(f"report      {self.folder / REPORT_TEXT}")

    def _answers(self, model: Classifier, predictions: Predictions) -> Answers | None:
        if self.accept is None or model.calibration is None:
            return None
        threshold = model.calibration.threshold(self.accept)
        answered = predictions.probability >= threshold
        right = answered & (predictions.predicted == predictions.label)
        return Answers(self.accept, threshold, int(answered.sum()), int(right.sum()))

    def _facts(self, data: ImageDataModule | None, model: Classifier) -> dict[str, str]:
        """Collect facts about the evaluation, such as its checkpoint, data and date: values by name."""
        run = run_of(self.checkpoint)
        facts = {"checkpoint": str(self.checkpoint), "model": type(model).__name__}
        if run is not None:
            facts = {"run": "/".join(run.parts[-2:]), **facts}
        if data is not None:
            folder = f", {data.root}" if isinstance(data, FileDataModule) else ""
            facts["data"] = f"{type(data).__name__}{folder}"
            chosen = data.fingerprints.were_validated_on(self.stage)
            if data.fingerprints.were_trained_on(self.stage):
                facts["independent"] = "no, the network was trained on images that are among these"
            elif chosen is not None:
                facts["independent"] = _CHOSEN if chosen else "yes, the run did not validate on these images"
            if data.exclude.table is not None:
                facts["left out"] = f"images that {data.exclude.table} names"
        facts["date"] = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
        if self.command is not None:
            facts["command"] = self.command
        if self._made_by:
            trained_on = self._made_by.pop("data", {})
            facts["trained by"] = ", ".join(f"{name} {value}" for name, value in self._made_by.items())
            facts["trained on"] = ", ".join(f"{name} {value}" for name, value in trained_on.items())
        return facts


_CHOSEN = (
    "no, the run validated on these images, or on some of them: they chose the epoch of best.ckpt and the temperature, "
    "so expect a little less on others"
)


class TestReport(EvaluationReport):
    """The report of a test, see :class:`EvaluationReport`."""

    __test__ = False  # tells pytest that this is not a test case

    stage = "test"
    word = "Test"
    on_test_epoch_start = EvaluationReport.begin
    on_test_batch_end = EvaluationReport.add_batch
    on_test_end = EvaluationReport.finish


class ValidationReport(EvaluationReport):
    """The report of a validation, see :class:`EvaluationReport`."""

    stage = "val"
    word = "Validation"
    on_validation_epoch_start = EvaluationReport.begin
    on_validation_batch_end = EvaluationReport.add_batch
    on_validation_end = EvaluationReport.finish


def _heatmaps(model: Classifier, data: ImageDataModule, loader: BatchLoader, mistakes: Predictions) -> Sequence[Tile]:
    """Tiles of mistakes with what speaks for the predicted class; none if the network has no feature map."""
    tiles: list[Tile] = []
    for one in torch.arange(len(mistakes.index)).split(4):
        part = Predictions(*(column[one] for column in mistakes))
        batch = data.preprocess(loader.take(part.index).to(model.device))
        try:
            maps = heatmaps(model, batch.image.to(model.dtype), part.predicted.to(model.device)).cpu()
        except UserError as error:
            log_info(str(error).split(":")[0])
            return []
        shown = prediction_tiles(loader, part, model.class_names, files_of(loader.images))
        tiles += [tile._replace(image=overlay(tile.image, one)) for tile, one in zip(shown, maps, strict=True)]
    return tiles
