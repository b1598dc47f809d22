import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from lit_vision.batch import Batch
from lit_vision.callbacks.outcome import Outcome, OutcomeCollector, spread
from lit_vision.callbacks.tensorboard import add_picture, writers
from lit_vision.drawing import GREEN, RED, Tile, draw_confusion, draw_grid, to_picture

_COLUMNS = 4  # so that text can be read in the narrow cards of TensorBoard, too
_SHARE = 0.02  # of the run's time
_SECONDS = 0.5  # that a set of pictures takes, until one was drawn


class Pictures(Callback):
    """Pictures of what was learned, in TensorBoard's Images.

    At the start the first training images as the network sees them, after augmentation. After a validation a grid of
    validation images with what the network takes them for and how surely, its most confident mistakes over the whole
    split, and the confusion matrix with each class' accuracy.

    Args:
        every_n_epochs: epochs between two sets of pictures, of which the last epoch always has one; 0 for none at all.
            By default as many sets as can be drawn in 2 % of the run's time, and the last.
        count: images in a grid.
        embedding: at the end, show up to 1,000 validation images in the projector, by what the last layer gets of them.
    """

    def __init__(self, every_n_epochs: int | None = None, count: int = 20, embedding: bool = False) -> None:
        self.every_n_epochs = every_n_epochs
        self.count = count
        self.embedding = embedding
        self._collector: OutcomeCollector | None = None
        self._training_shown = False
        self._start = self._spent = 0.0
        self._needed = _SECONDS

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start anew."""
        self._training_shown = False
        self._start, self._spent = time.monotonic(), 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Show training images, once a run."""
        loader: Any = trainer.train_dataloader
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if self._training_shown or self.every_n_epochs == 0 or data is None or not hasattr(loader, "pick"):
            return
        self._training_shown = True
        for writer in writers(trainer):
            batch = loader.pick(loader.sampler.tensor()[: self.count])
            seen = _without_normalisation(data.on_after_batch_transfer(batch, 0).image, pl_module.hparams)
            names = [pl_module.class_names[label] for label in batch.label.tolist()]
            grid = draw_grid([Tile(image, [name]) for image, name in zip(seen, names, strict=True)], _COLUMNS)
            add_picture(writer, "train/images", grid, trainer.global_step)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Get ready to note what validation finds, if pictures are due."""
        due = trainer.state.fn == "fit" and not trainer.sanity_checking and self._is_due(trainer)
        self._collector = OutcomeCollector(trainer.val_dataloaders, pl_module.device) if due else None

    def _is_due(self, trainer: Trainer) -> bool:
        epoch = trainer.current_epoch + 1
        if self.every_n_epochs == 0 or not hasattr(trainer.val_dataloaders, "pick"):
            return False
        if epoch == trainer.max_epochs:
            return True
        if self.every_n_epochs is not None:
            return epoch % self.every_n_epochs == 0
        affordable = self._spent + self._needed < _SHARE * (time.monotonic() - self._start)
        return trainer.strategy.broadcast(affordable)  # all processes collect together, whatever their clocks say

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        """Note a batch."""
        if self._collector is not None:
            self._collector.add(batch, outputs)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Draw what was noted."""
        if self._collector is None:
            return
        start = time.monotonic()
        outcome, self._collector = self._collector.outcome(trainer), None
        names, step = pl_module.class_names, trainer.global_step
        for writer in writers(trainer):
            for tag, shown in (("val/images", outcome.spread(self.count)), ("val/mistakes", outcome.mistakes())):
                if tiles := prediction_tiles(trainer.val_dataloaders, shown, names, self.count):
                    add_picture(writer, tag, draw_grid(tiles, _COLUMNS), step)
            matrix = draw_confusion(outcome.confusion(len(names)), names)
            add_picture(writer, "val/confusion", to_picture(matrix), step)
        self._needed = time.monotonic() - start
        self._spent += self._needed

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Show the embedding, if asked to."""
        loader: Any = trainer.val_dataloaders
        if not self.embedding or not hasattr(loader, "pick"):
            return
        for writer in writers(trainer):
            chosen = spread(len(loader.labels), 1000)
            batches = [loader.pick(part) for part in chosen.split(32)]
            sprites = torch.cat([nn.functional.interpolate(batch.image.float(), 32, mode="area") for batch in batches])
            names = [pl_module.class_names[label] for label in loader.labels[chosen].tolist()]
            vectors = _before_head(trainer, pl_module, batches)
            writer.add_embedding(vectors, names, sprites / 255, trainer.global_step, "val/embedding")


def prediction_tiles(loader: Any, outcome: Outcome, class_names: Sequence[str], count: int) -> list[Tile]:
    """The first images of an outcome with what the network takes them for; in red with the true class where it errs."""
    batch = loader.pick(outcome.index[:count])
    tiles = []
    for image, label, predicted, probability in zip(
        batch.image, batch.label.tolist(), outcome.predicted.tolist(), outcome.probability.tolist(), strict=False
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
def _before_head(trainer: Trainer, model: nn.Module, batches: Sequence[Batch]) -> Tensor:
    """(N, width) float32: what the last Linear of a network gets."""
    head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    found: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0].float().cpu()))
    training = model.training
    model.eval()
    try:
        for batch in batches:
            model(trainer.strategy.batch_to_device(batch).image)
    finally:
        hook.remove()
        model.train(training)
    return torch.cat(found)
