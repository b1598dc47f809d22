from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer
from torch import Tensor, nn

from lit_vision.data.batch import evenly_spaced
from lit_vision.errors import UserError
from lit_vision.models.classifier import Classifier
from lit_vision.models.whitening import whitening_filters

_IMAGES = 5000  # to find the filters with, of up to 32x32 pixels; fewer of larger ones
_FEWEST = 100
_BATCH_NORM_MOMENTUM = 0.4  # a run is a few hundred steps, after which statistics must be those of its end
_LOGIT_SCALE = 1 / 9
_SMALLEST = 17  # pixels, of which the blocks leave 2: BatchNorm cannot train on a single image with a single pixel


class WhitenedCNN(Classifier):
    """Frozen whitening filters, six convolutions in three blocks, and a linear layer: small, wide, quick to train.

    whiten (2x2, 24 filters) - GELU - three blocks - global max pool - fc - times 1/9, where a block is conv1 - max
    pool 2 - BatchNorm - GELU - conv2 - BatchNorm - GELU. Its convolutions are 3x3, without biases, and keep the size: a
    side of I pixels leaves the blocks as (I - 1) // 8. The first filters of each start as the identity, the whole as a
    shallow network. BatchNorm has biases alone, which learn ``bias_lr_scale`` times as fast as the rest.

    After Keller Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv 2404.00498, 2024.

    The filters of the first layer are computed from training images when fit starts, and stay as they are.

    Args:
        widths: channels of the three blocks.
        bias_lr_scale: what the learning rate of BatchNorm's biases is multiplied by.
        weights: file with a state_dict to start from.
        kwargs: as for :class:`Classifier`.

    Raises:
        UserError: ``image_size`` is below 17; when fit starts, the data's ``crop_size`` is.
    """

    prefers_bfloat16 = True
    """Whether the command line trains it in bfloat16 where the device is fast in that, unless told a precision."""

    def __init__(
        self,
        widths: tuple[int, int, int] = (64, 256, 256),
        bias_lr_scale: float = 64.0,
        weights: str | Path | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if min(widths) < 1 or bias_lr_scale <= 0:
            raise UserError(
                "widths and bias_lr_scale must be more than 0: change --model.widths or --model.bias_lr_scale"
            )
        _check_side("image_size", self.hparams["image_size"])
        self.bias_lr_scale = bias_lr_scale
        self.whiten = nn.Conv2d(3, 24, 2, bias=False)
        nn.init.zeros_(self.whiten.weight)  # until fit starts
        self.whiten.weight.requires_grad_(False)
        self.blocks = nn.Sequential(*(_Block(*ends) for ends in zip((24, *widths), widths, strict=False)))
        self.fc = nn.Linear(widths[-1], len(self.class_names), bias=False)
        if weights is not None:
            self.load_weights(weights)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, classes) of normalised images (N, 3, H, W)."""
        x = self.blocks(F.gelu(self.whiten(image)))
        return self.fc(x.amax((2, 3))) * _LOGIT_SCALE

    def parameter_groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """BatchNorm's biases, which learn faster, and all else."""
        biases = [module.bias for module in self.modules() if isinstance(module, nn.BatchNorm2d)]
        fast = {id(bias) for bias in biases}
        rest = [p for p in self.parameters() if p.requires_grad and id(p) not in fast]
        return [(rest, 1.0), (biases, self.bias_lr_scale)]

    def check_crop_size(self, side: int) -> None:
        """Refuse what ``image_size`` is refused for, too."""
        _check_side("crop_size", side)
        super().check_crop_size(side)

    def on_train_start(self) -> None:
        """Compute the filters of the first layer, unless a checkpoint or a file had them."""
        super().on_train_start()
        if not self.whiten.weight.any():
            filters = whitening_filters(_training_images(self.trainer).to(self.whiten.weight))
            with torch.no_grad():
                self.whiten.weight.copy_(self.trainer.strategy.broadcast(filters))


class _Block(nn.Module):
    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
        self.norm1 = _bias_norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = _bias_norm(channels)
        for conv in (self.conv1, self.conv2):
            nn.init.dirac_(conv.weight[: conv.in_channels])

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        return F.gelu(self.norm2(self.conv2(x)))


def _check_side(option: str, side: int) -> None:
    if side < _SMALLEST:
        raise UserError(f"{option} {side} leaves too few pixels: set --data.{option} to {_SMALLEST} or more")


def _bias_norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, momentum=_BATCH_NORM_MOMENTUM)
    norm.weight.requires_grad_(False)
    return norm


def _training_images(trainer: Trainer) -> Tensor:
    """Images of the training split, or of a loader that cannot pick them its first batch, normalised."""
    loader: Any = trainer.train_dataloader
    data: Any = getattr(trainer, "datamodule", None)
    if hasattr(loader, "take") and hasattr(data, "preprocess"):  # as they are, without augmentation
        count = min(_IMAGES, max(_FEWEST, _IMAGES * 32**2 // data.image_size**2))
        return data.preprocess(loader.take(evenly_spaced(len(loader.labels), count))).image
    return trainer.strategy.batch_to_device(next(iter(loader))).image
