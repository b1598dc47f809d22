"""The calibration of a network on its validation images, which checkpoints keep."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from typing_extensions import override

from lit_vision.data.batch import evenly_spaced
from lit_vision.data.loader import BatchLoader
from lit_vision.metrics import are_logits
from lit_vision.models.calibration import Calibration, calibrate
from lit_vision.models.classifier import Classifier
from lit_vision.models.weights_file import last_linear

_IMAGES = 5000  # images whose logits are kept
_FEATURES = 1000  # kept in checkpoints, at most half of them of training images


class Calibrate(Callback):
    """Fits a temperature on the validation images, and notes how certain of them and how far from each other they are.

    Checkpoints keep that under the key calibration, if their weights are those that were validated. What an image is
    compared with are features of validation images. Where a frozen network's features are cached, those of training
    images are among them: such a network has not adapted to them.

    It does nothing for a model that is not a Classifier, or for data that is not an ImageDataModule.
    """

    def __init__(self) -> None:
        self._sample: _Sample | None = None
        self._calibration: Calibration | None = None
        self._step = -1  # the step after which the weights were validated

    @override
    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loader = trainer.val_dataloaders
        self._sample = None
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        if isinstance(loader, BatchLoader) and isinstance(pl_module, Classifier):
            self._sample = _Sample(loader, pl_module)

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
        if self._sample is not None and are_logits(outputs, batch) and len(outputs):
            self._sample.add(batch.index, outputs)

    @override
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._sample is None:
            return
        sample, self._sample = self._sample, None
        self._step = trainer.global_step
        self._calibration = sample.calibration(trainer)

    @override
    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._calibration is not None and self._step == trainer.global_step:
            checkpoint["calibration"] = self._calibration.state_dict()

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if isinstance(pl_module, Classifier):
            pl_module.calibration = self._calibration if self._step == trainer.global_step else None

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._sample is not None:
            self._sample.stop()


class _Sample:
    """Logits and features of a part of a split, kept on the device so that no step waits for them."""

    def __init__(self, loader: BatchLoader, model: Classifier) -> None:
        self._loader = loader
        images = len(loader.labels)
        self._chosen = evenly_spaced(images, _IMAGES)
        self._featured = self._chosen[evenly_spaced(len(self._chosen), _FEATURES)]
        # the row of each image; those that are not chosen share the last, which is not used
        self._rows = {name: _rows(chosen, images).to(model.device) for name, chosen in self._parts().items()}
        self._values: dict[str, Tensor] = {}
        self._inputs: list[Tensor] = []
        self._hook: RemovableHandle | None = None
        if (name := last_linear(model)) is not None:
            self._hook = model.get_submodule(name).register_forward_pre_hook(self._note_input)

    def _parts(self) -> dict[str, Tensor]:
        return {"logits": self._chosen, "features": self._featured}

    def _note_input(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._inputs.append(inputs[0])

    def stop(self) -> None:
        """Leave the network as it was."""
        if self._hook is not None:
            self._hook.remove()

    def add(self, index: Tensor, logits: Tensor) -> None:
        """Add a batch: positions (N,) and logits (N, classes); the features were noted."""
        self._put("logits", index, logits)
        inputs, self._inputs = self._inputs, []
        if len(inputs) == 1 and inputs[0].dim() == 2 and len(inputs[0]) == len(index):
            self._put("features", index, inputs[0])

    def _put(self, name: str, index: Tensor, values: Tensor) -> None:
        if name not in self._values:
            # one column more, which says that the row is there
            shape = len(self._parts()[name]) + 1, values.shape[1] + 1
            self._values[name] = torch.zeros(shape, device=values.device)
        rows = self._rows[name][index]
        self._values[name][rows, :-1] = values.detach().float()
        self._values[name][rows, -1] = 1

    def calibration(self, trainer: Trainer) -> Calibration | None:
        """Calibrate with the images of all processes; each of them must call this."""
        self.stop()
        logits, seen = self._gather("logits", trainer)
        features, _ = self._gather("features", trainer)
        if not len(seen):
            return None
        loader = trainer.train_dataloader
        if isinstance(loader, BatchLoader) and loader.features is not None and features.shape[1]:
            known = loader.features[~loader.features[:, 0].isnan()]
            known, features = (part[evenly_spaced(len(part), _FEATURES // 2)] for part in (known, features))
            features = torch.cat([features, known.float()])
        return calibrate(logits, self._loader.labels[self._chosen[seen]], features if features.shape[1] else None)

    def _gather(self, name: str, trainer: Trainer) -> tuple[Tensor, Tensor]:
        """The rows of all processes, on the CPU, and which of the chosen images they are."""
        values = self._values.get(name)
        width = 0 if values is None else values.shape[1]
        widest = int(trainer.strategy.reduce(torch.tensor(width, device=trainer.strategy.root_device), reduce_op="max"))
        if not widest:
            return torch.zeros(0, 0), torch.zeros(0, dtype=torch.int64)
        if values is None:  # this process had no batch
            values = torch.zeros(len(self._parts()[name]) + 1, widest, device=trainer.strategy.root_device)
        # each row is zero in all processes but one
        together = trainer.strategy.reduce(values, reduce_op="sum").cpu()[:-1]
        seen = together[:, -1].nonzero().flatten()
        return together[seen, :-1], seen


def _rows(chosen: Tensor, images: int) -> Tensor:
    rows = torch.full((images,), len(chosen))
    rows[chosen] = torch.arange(len(chosen))
    return rows
