import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from lit_vision.callbacks.outcome import PredictionCollector, Predictions
from lit_vision.callbacks.tensorboard import add_picture, writers
from lit_vision.data.batch import Batch, evenly_spaced
from lit_vision.errors import UserError
from lit_vision.models.modules import in_eval_mode
from lit_vision.plots import GREEN, RED, Tile, plot_confusion, plot_grid, to_image

_COLUMNS = 4  # so that text can be read in the narrow cards of TensorBoard, too
_TIME_SHARE = 0.02  # of the run's time
_SECONDS = 0.5  # that a set of pictures takes, until one was drawn


class Pictures(Callback):
    """Pictures of what was learned, in TensorBoard's Images.

    At the start the first training images as the network sees them, after augmentation. After a validation a grid of
    validation images with what the network takes them for and how surely, its most confident mistakes over the whole
    split, and the confusion matrix with each class' accuracy.

    Args:
        every_n_validations: how many validations lead to one set of pictures; 0 for no pictures at all. By default as
            many sets are drawn as 2 % of the run's time allow. The last validation of a run always has one.
        count: images in a grid.
        embedding: at the end, show up to 1,000 validation images in the projector, by what the last layer gets of them.

    Raises:
        UserError: a negative number, or a count of 0.
    """

    def __init__(self, every_n_validations: int | None = None, count: int = 20, embedding: bool = False) -> None:
        for name, value, least in (("every_n_validations", every_n_validations or 0, 0), ("count", count, 1)):
            if value < least:
                raise UserError(f"{name} {value} is too small: give at least {least} with --pictures.{name}")
        self.every_n_validations = every_n_validations
        self.count = count
        self.embedding = embedding
        self._collector: PredictionCollector | None = None
        self._outcome: Predictions | None = None  # that is not drawn yet
        self._training_shown = False
        self._validations = 0
        self._start = self._spent = 0.0
        self._needed = _SECONDS

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start anew."""
        self._training_shown = False
        self._validations = 0
        self._start, self._spent = time.monotonic(), 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Show training images, once a run."""
        loader: Any = trainer.train_dataloader
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if self._training_shown or self.every_n_validations == 0 or data is None or not hasattr(loader, "take"):
            return
        self._training_shown = True
        for writer in writers(trainer):
            batch = loader.take(loader.sampler.tensor()[: self.count])
            seen = _without_normalisation(data.on_after_batch_transfer(batch, 0).image, pl_module.hparams)
            names = [pl_module.class_names[label] for label in batch.label.tolist()]
            grid = plot_grid([Tile(image, [name]) for image, name in zip(seen, names, strict=True)], _COLUMNS)
            add_picture(writer, "train/images", grid, trainer.global_step)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Get ready to note what validation finds."""
        wanted = trainer.state.fn == "fit" and not trainer.sanity_checking and self.every_n_validations != 0
        loader = trainer.val_dataloaders
        self._collector = PredictionCollector(loader, pl_module.device) if wanted and hasattr(loader, "take") else None

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        """Note a batch."""
        if self._collector is not None:
            self._collector.add(batch, outputs)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Draw what was noted, if it is time to."""
        if self._collector is None:
            return
        self._outcome, self._collector = self._collector.outcome(trainer), None
        self._validations += 1
        if self._is_due():
            self._draw(trainer, pl_module)

    def _is_due(self) -> bool:
        if self.every_n_validations is not None:
            return self._validations % self.every_n_validations == 0
        return self._spent + self._needed < _TIME_SHARE * (time.monotonic() - self._start)

    def _draw(self, trainer: Trainer, pl_module: Any) -> None:
        """Draw the newest outcome, once."""
        start = time.monotonic()
        outcome, self._outcome = self._outcome, None
        if outcome is None or not len(outcome.index):
            return
        names, step = pl_module.class_names, trainer.global_step
        shown = {"val/images": outcome.evenly_spaced(self.count), "val/mistakes": outcome.mistakes().first(self.count)}
        for writer in writers(trainer):
            for tag, part in shown.items():
                tiles = prediction_tiles(trainer.val_dataloaders, part, names)
                none = Tile(torch.full((3, 1, 1), 255, dtype=torch.uint8), ["no mistakes"], GREEN)
                add_picture(writer, tag, plot_grid(tiles or [none], _COLUMNS), step)
            matrix = plot_confusion(outcome.confusion(len(names)), names)
            add_picture(writer, "val/confusion", to_image(matrix), step)
        self._needed = time.monotonic() - start
        self._spent += self._needed

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Draw the last validation, and the embedding, if asked to."""
        self._draw(trainer, pl_module)
        loader: Any = trainer.val_dataloaders
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if not self.embedding or data is None or not hasattr(loader, "take"):
            return
        for writer in writers(trainer):
            chosen = evenly_spaced(len(loader.labels), 1000)
            batches = [loader.take(part) for part in chosen.split(32)]
            sprites = torch.cat([nn.functional.interpolate(batch.image.float(), 32, mode="area") for batch in batches])
            names = [pl_module.class_names[label] for label in loader.labels[chosen].tolist()]
            ready = (data.preprocess(batch).image.to(pl_module.device) for batch in batches)
            vectors = _before_head(pl_module, ready)
            writer.add_embedding(vectors, names, sprites / 255, trainer.global_step, "val/embedding")


def prediction_tiles(loader: Any, outcome: Predictions, class_names: Sequence[str]) -> list[Tile]:
    """Images with what the network takes them for; in red and with the true class where it errs."""
    tiles = []
    images = loader.take(outcome.index).image if len(outcome.index) else []
    for image, label, predicted, probability in zip(
        images, outcome.label.tolist(), outcome.predicted.tolist(), outcome.probability.tolist(), strict=True
    ):
        guess = f"{class_names[predicted]} {probability:.0%}"
        wrong = predicted != label
        tiles.append(Tile(image, [guess, f"true: {class_names[label]}"] if wrong else [guess], RED if wrong else GREEN))
    return tiles


def _without_normalisation(image: Tensor, hparams: Mapping[str, Any]) -> Tensor:
    """(N, 3, H, W) uint8 of what the network gets."""
    mean, std = (torch.tensor(hparams[name])[:, None, None] for name in ("mean", "std"))
    return ((image * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)


@torch.no_grad()
def _before_head(model: nn.Module, images: Iterable[Tensor]) -> Tensor:
    """(N, width) float32: what the last Linear of a network gets."""
    head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    found: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0].float().cpu()))
    try:
        with in_eval_mode(model):
            for image in images:
                model(image)
    finally:
        hook.remove()
    return torch.cat(found)
