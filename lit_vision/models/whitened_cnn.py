from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer
from torch import Tensor, nn
from typing_extensions import override

from lit_vision.data.batch import Batch, evenly_spaced
from lit_vision.data.datamodule import image_data
from lit_vision.data.loader import BatchLoader
from lit_vision.errors import UserError, check_at_least
from lit_vision.models.classifier import Classifier
from lit_vision.optim import ParameterGroup

_WHITENING_IMAGES = 5000  # images of up to 32x32 pixels to compute the filters from; fewer if they are larger
_FEWEST_IMAGES = 100
_BATCH_NORM_MOMENTUM = 0.4  # high, as a run has few steps, and the statistics must be those of its end
_LOGIT_SCALE = 1 / 9
_SMALLEST_SIDE = 17  # pixels; the blocks leave 2, as BatchNorm cannot train on one image with one pixel


class WhitenedCNN(Classifier):
    """A wide, quickly trained network: frozen whitening filters, six convolutions in three blocks, and a linear layer.

    whiten (2x2, 24 filters) - GELU - three blocks - global max pool - fc - times 1/9, where a block is conv1 - max
    pool 2 - BatchNorm - GELU - conv2 - BatchNorm - GELU. The convolutions of the blocks are 3x3, without biases, and
    keep the size: a side of I pixels leaves the blocks as (I - 1) // 8. The first filters of each convolution start as
    the identity, so that the network starts as a shallow one. BatchNorm trains only its biases, with ``bias_lr_scale``
    times the learning rate.

    After Keller Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv 2404.00498, 2024.

    The whitening filters are computed from training images when training starts, and are not trained.

    Args:
        widths: Output channels of the three blocks.
        bias_lr_scale: Factor of the learning rate for the biases of BatchNorm.
        head_lr_scale: Factor of the learning rate for the linear layer.
        weights: File to start from, with a state_dict or a checkpoint.
        kwargs: options of :class:`Classifier`.

    Raises:
        UserError: a width is below 1, a factor is not above 0, or image_size is below 17.
    """

    prefers_bfloat16: ClassVar[bool] = True

    def __init__(
        self,
        widths: tuple[int, int, int] = (64, 256, 256),
        bias_lr_scale: float = 64.0,
        head_lr_scale: float = 1.0,
        weights: str | Path | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_at_least(1, "model", widths=min(widths))
        for option, scale in (("bias_lr_scale", bias_lr_scale), ("head_lr_scale", head_lr_scale)):
            if not scale > 0:
                raise UserError(f"{option} {scale} is not above 0: set --model.{option} to more than 0")
        _check_side("image_size", self.input_spec.image_size)
        self.bias_lr_scale, self.head_lr_scale = bias_lr_scale, head_lr_scale
        self.whiten = nn.Conv2d(3, 24, 2, bias=False)
        nn.init.zeros_(self.whiten.weight)  # training computes them when it starts
        self.whiten.weight.requires_grad_(False)
        self.blocks = nn.Sequential(*(_Block(*ends) for ends in zip((24, *widths), widths, strict=False)))
        self.fc = nn.Linear(widths[-1], len(self.class_names), bias=False)
        if weights is not None:
            self.load_weights(weights)

    @override
    def forward(self, image: Tensor) -> Tensor:
        x = self.blocks(F.gelu(self.whiten(image)))
        return self.fc(x.amax((2, 3))) * _LOGIT_SCALE

    @override
    def parameter_groups(self) -> list[ParameterGroup]:
        """The convolutions, the linear layer and the biases of BatchNorm, which all decay as fast as the first."""
        filters = [parameter for parameter in self.blocks.parameters() if parameter.ndim == 4]
        head = [*self.fc.parameters()]
        biases = [module.bias for module in self.modules() if isinstance(module, nn.BatchNorm2d)]
        scaled = ParameterGroup(biases, self.bias_lr_scale, 1 / self.bias_lr_scale)
        if self.head_lr_scale == 1:  # one group, as in checkpoints of before head_lr_scale
            return [ParameterGroup([*filters, *head]), scaled]
        return [ParameterGroup(filters), ParameterGroup(head, self.head_lr_scale, 1 / self.head_lr_scale), scaled]

    @override
    def check_crop_size(self, side: int) -> None:
        _check_side("crop_size", side)
        super().check_crop_size(side)

    @override
    def on_train_start(self) -> None:
        """Compute the whitening filters, unless they were loaded."""
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
    if side < _SMALLEST_SIDE:
        raise UserError(
            f"{option} {side} leaves too few pixels after three poolings: set --data.{option} to {_SMALLEST_SIDE} or "
            "more"
        )


def _bias_norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, momentum=_BATCH_NORM_MOMENTUM)
    norm.weight.requires_grad_(False)
    return norm


def _training_images(trainer: Trainer) -> Tensor:
    """Normalised training images without augmentation; without our loader or data, the images of the first batch."""
    loader: object = trainer.train_dataloader
    data = image_data(trainer)
    if isinstance(loader, BatchLoader) and data is not None:
        count = min(_WHITENING_IMAGES, max(_FEWEST_IMAGES, _WHITENING_IMAGES * 32**2 // data.image_size**2))
        return data.preprocess(loader.take(evenly_spaced(len(loader.labels), count))).image
    assert isinstance(loader, Iterable)
    batch: Batch = trainer.strategy.batch_to_device(next(iter(loader)))
    return batch.image


def whitening_filters(image: Tensor, size: int = 2, eps: float = 5e-4) -> Tensor:
    """Compute convolution filters whose outputs on these images are uncorrelated and have a variance close to 1.

    They are the eigenvectors of the uncentred covariance of all patches, each divided by the square root of its
    eigenvalue, followed by their negatives, so that an activation that cuts off one sign loses nothing. After Tysam
    Anderson's "hlb-CIFAR10", 2022, and Keller Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv
    2404.00498, 2024.

    Args:
        image: the images, (N, C, H, W), normalised.
        size: side of the patches in pixels.
        eps: number added to the eigenvalues, so that directions in which patches hardly vary are not amplified much.

    Returns:
        Filters (2 * C * size**2, C, size, size), with the dtype and on the device of ``image``.
    """
    channels, width = image.shape[1], image.shape[1] * size**2
    patches = image.unfold(2, size, 1).unfold(3, size, 1)  # (N, C, rows, columns, size, size), a view
    patches = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, width).cpu().double()  # not every device has float64
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors / (values + eps).sqrt()).T.reshape(width, channels, size, size)
    return torch.cat([filters, -filters]).to(image)
