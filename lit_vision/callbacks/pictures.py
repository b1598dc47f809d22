"""Pictures of training and validation images, mistakes and the confusion matrix in TensorBoard."""

import os
import time
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor, nn
from typing_extensions import override

from lit_vision.callbacks.tensorboard import add_picture, writers
from lit_vision.data.batch import Batch, MixedBatch, evenly_spaced
from lit_vision.data.datamodule import ImageDataModule, image_data
from lit_vision.data.loader import BatchLoader
from lit_vision.errors import check_at_least
from lit_vision.metrics import PredictionCollector, Predictions, are_logits
from lit_vision.models.classifier import Classifier
from lit_vision.models.modules import in_eval_mode
from lit_vision.models.weights_file import last_linear
from lit_vision.plots import GREEN, RED, Tile, plot_confusion, plot_grid, to_image
from lit_vision.utils.fonts import shown_names

_COLUMNS = 4  # few enough that the text can be read in TensorBoard's narrow cards
_TIME_SHARE = 0.02  # fraction of the run's time that drawing may take
_SECONDS = 0.5  # expected for a set of pictures before the first one is drawn
_PROJECTED = 1000  # images in the projector
_SPRITE = 32  # pixels, side of an image in the projector


class Pictures(Callback):
    """Draws pictures for TensorBoard's Images: what the network sees, predicts and gets wrong.

    At the start, they show the first training images as the network gets them, after augmentation. After a validation,
    they show a grid of validation images with the predicted class and its probability, the most confident mistakes of
    the whole split, and the confusion matrix with the recall of each class.

    It does nothing for a model that is not a Classifier, or for data that is not an ImageDataModule.

    Args:
        every_n_validations: Number of validations from one set of pictures to the next; 0 for no pictures. By default,
            drawing takes at most 2% of the run's time. The last validation is always drawn, except with 0.
        count: Number of images in a grid.
        embedding: After training, add penultimate-layer features of up to 1,000 validation images to the projector.

    Raises:
        UserError: every_n_validations is negative, or count is below 1.
    """

    def __init__(self, every_n_validations: int | None = None, count: int = 20, embedding: bool = False) -> None:
        check_at_least(0, "pictures", every_n_validations=every_n_validations)
        check_at_least(1, "pictures", count=count)
        self.every_n_validations = every_n_validations
        self.count = count
        self.embedding = embedding
        self._collector: PredictionCollector | None = None
        self._predictions: Predictions | None = None  # those of the newest validation, until they are drawn
        self._training_shown = False
        self._validations = 0
        self._start = self._spent = 0.0
        self._needed = _SECONDS

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._predictions = None
        self._training_shown = False
        self._validations = 0
        self._start, self._spent = time.monotonic(), 0.0

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show training images, once in a run."""
        loader, data = trainer.train_dataloader, image_data(trainer)
        if self._training_shown or self.every_n_validations == 0 or data is None:
            return
        if not isinstance(loader, BatchLoader) or not isinstance(pl_module, Classifier):
            return
        self._training_shown = True
        for writer in writers(trainer):
            batch = data.preprocess(loader.first_images(self.count), trainer.current_epoch)
            seen = _without_normalization(batch.image, pl_module)
            names = _captions(batch, shown_names(pl_module.class_names))
            grid = plot_grid([Tile(image, lines) for image, lines in zip(seen, names, strict=True)], _COLUMNS)
            add_picture(writer, "train/images", grid, trainer.global_step)

    @override
    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Get ready to collect the predictions of this validation."""
        self._collector = None
        wanted = trainer.state.fn == "fit" and not trainer.sanity_checking and self.every_n_validations != 0
        loader = trainer.val_dataloaders
        if wanted and isinstance(loader, BatchLoader) and isinstance(pl_module, Classifier):
            self._collector = PredictionCollector(loader, pl_module.device)

    @override
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._collector is not None and are_logits(outputs, batch):
            self._collector.add(batch, outputs)

    @override
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the predictions if a set of pictures is due."""
        if self._collector is None:
            return
        self._predictions, self._collector = self._collector.predictions(trainer), None
        self._validations += 1
        if self._is_due():
            self._draw(trainer, pl_module)

    def _is_due(self) -> bool:
        if self.every_n_validations is not None:
            return self._validations % self.every_n_validations == 0
        return self._spent + self._needed < _TIME_SHARE * (time.monotonic() - self._start)

    def _draw(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the newest predictions, once."""
        start = time.monotonic()
        loader = trainer.val_dataloaders
        predictions, self._predictions = self._predictions, None
        if predictions is None or not len(predictions.index):
            return
        assert isinstance(pl_module, Classifier) and isinstance(loader, BatchLoader)  # noqa: PT018  # collected from
        names, step = pl_module.class_names, trainer.global_step
        shown = {
            "val/images": predictions.evenly_spaced(self.count),
            "val/mistakes": predictions.mistakes().first(self.count),
        }
        for writer in writers(trainer):
            for tag, part in shown.items():
                tiles = prediction_tiles(loader, part, names)
                none = Tile(torch.full((3, 1, 1), 255, dtype=torch.uint8), ["no mistakes"], GREEN)
                add_picture(writer, tag, plot_grid(tiles or [none], _COLUMNS), step)
            matrix = plot_confusion(predictions.confusion(len(names)), names)
            add_picture(writer, "val/confusion", to_image(matrix), step)
        self._needed = time.monotonic() - start
        self._spent += self._needed

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the last validation, and the embedding if asked to."""
        self._draw(trainer, pl_module)
        loader, data = trainer.val_dataloaders, image_data(trainer)
        if not self.embedding or data is None:
            return
        if isinstance(loader, BatchLoader) and isinstance(pl_module, Classifier):
            self._project(trainer, pl_module, data, loader)

    def _project(self, trainer: Trainer, model: Classifier, data: ImageDataModule, loader: BatchLoader) -> None:
        for writer in writers(trainer):
            chosen = evenly_spaced(len(loader.labels), _PROJECTED)
            batches = [loader.take(part) for part in chosen.split(32)]
            ready = (data.preprocess(batch).image.to(model.device) for batch in batches)
            if (vectors := _before_head(model, ready)) is None:
                return
            small = [nn.functional.interpolate(batch.image.float(), _SPRITE, mode="area") for batch in batches]
            names = [model.class_names[label] for label in loader.labels[chosen].tolist()]
            writer.add_embedding(vectors, names, torch.cat(small) / 255, trainer.global_step, "val/embedding")


def prediction_tiles(
    loader: BatchLoader, predictions: Predictions, class_names: Sequence[str], paths: Sequence[str] | None = None
) -> list[Tile]:
    """Make tiles of images with their predicted class and its probability; mistakes are red, with the true class below.

    Args:
        loader: loader of the split that was predicted.
        predictions: the images to show.
        class_names: a name for each label.
        paths: the files of the whole split, whose names are shown; None shows none.
    """
    return (
        tiles_of(loader.take(predictions.index).image, predictions, class_names, paths)
        if len(predictions.index)
        else []
    )


def tiles_of(
    images: Iterable[Tensor], predictions: Predictions, class_names: Sequence[str], paths: Sequence[str] | None
) -> list[Tile]:
    """Make tiles as :func:`prediction_tiles` does, from the images themselves, (3, H, W) uint8 each."""
    class_names = shown_names(class_names)
    tiles = []
    for image, index, label, predicted, probability in zip(
        images, *(column.tolist() for column in predictions[:4]), strict=True
    ):
        lines = [f"{class_names[predicted]} {probability:.0%}"]
        if predicted != label:
            lines.append(f"true: {class_names[label]}")
        if paths is not None:
            lines.append(os.path.basename(paths[index]))
        tiles.append(Tile(image, lines, RED if predicted != label else GREEN))
    return tiles


def _captions(batch: Batch | MixedBatch, class_names: Sequence[str]) -> list[list[str]]:
    """The class of each image; of a mixed one both, with their shares."""
    names = [class_names[label] for label in batch.label.tolist()]
    if isinstance(batch, Batch):
        return [[name] for name in names]
    others = [class_names[label] for label in batch.other.tolist()]
    shares = batch.share.tolist()
    return [
        [f"{share:.0%} {name}", f"{1 - share:.0%} {other}"]
        for name, other, share in zip(names, others, shares, strict=True)
    ]


def _without_normalization(image: Tensor, model: Classifier) -> Tensor:
    """Convert (N, 3, H, W) float32, normalised for a model, to (N, 3, H, W) uint8 to look at."""
    mean, std = (torch.tensor(scale)[:, None, None] for scale in (model.input_spec.mean, model.input_spec.std))
    return ((image * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)


@torch.no_grad()
def _before_head(model: nn.Module, images: Iterable[Tensor]) -> Tensor | None:
    """Compute the inputs of a network's last Linear layer, (N, width) float32; None if it has no such layer.

    Args:
        model: the network.
        images: batches of (n, 3, H, W) float32, normalised, on the network's device.
    """
    if (name := last_linear(model)) is None:
        return None
    inputs: list[Tensor] = []
    hook = model.get_submodule(name).register_forward_pre_hook(lambda _, args: inputs.append(args[0].float().cpu()))
    try:
        with in_eval_mode(model):
            for image in images:
                model(image)
    finally:
        hook.remove()
    return torch.cat(inputs)
