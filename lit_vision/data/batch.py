"""Types for images and labels: a split, a batch of images, a batch of features."""

from typing import NamedTuple

import torch
from torch import Tensor

from lit_vision.data.images import LazyImages


class Batch(NamedTuple):
    """A batch of images, from the loader through the transforms to the model.

    Attributes:
        image: (N, 3, H, W); uint8 as the loader yields it, float32 and normalised once it is on the device.
        label: (N,) int64, an index into the class names.
        index: (N,) int64, the position of each image in its split.
    """

    image: Tensor
    label: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which a batch has no use for

    def to(self, device: torch.device) -> "Batch":
        """Move the batch to a device."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))


class DrawnBatch(NamedTuple):
    """A batch of training images of which some are repeated in an epoch, or mixed, as the loader yields it.

    Attributes:
        image: (M, 3, H, W) uint8; the first N are the images of the batch, the others are mixed into them.
        label: (M,) int64, an index into the class names.
        index: (M,) int64, the position of each image in its split.
        repetition: (M,) int64, how often each image came before in this epoch.
        partner: (N,) int64, the position in this batch of what is mixed into each image; None if they are not mixed.
    """

    image: Tensor
    label: Tensor
    index: Tensor  # type: ignore[assignment]  # as in Batch
    repetition: Tensor
    partner: Tensor | None

    def to(self, device: torch.device) -> "DrawnBatch":
        """Move the batch to a device."""
        image, label, index = (tensor.to(device, non_blocking=True) for tensor in (self.image, self.label, self.index))
        partner = None if self.partner is None else self.partner.to(device)
        return DrawnBatch(image, label, index, self.repetition.to(device), partner)

    @property
    def draws(self) -> Tensor:
        """(M,) int64, numbers that key the random draws of the images: the index, or another for a repetition."""
        return self.index + (self.repetition << 40)


class MixedBatch(NamedTuple):
    """A batch of images on the device with something mixed into each.

    Attributes:
        image: (N, 3, H, W) float32, normalised.
        label: (N,) int64, the label of the larger part of each image.
        index: (N,) int64, the position in its split of the image that another one was mixed into.
        other: (N,) int64, the label of the smaller part.
        share: (N,) float32 in [0.5, 1], the share of the larger part.
    """

    image: Tensor
    label: Tensor
    index: Tensor  # type: ignore[assignment]  # as in Batch
    other: Tensor
    share: Tensor


class FeatureBatch(NamedTuple):
    """A batch of features that a frozen network has computed from images.

    Attributes:
        features: (N, width) float32.
        label: (N,) int64, an index into the class names.
        index: (N,) int64, the position of each image in its split.
    """

    features: Tensor
    label: Tensor
    index: Tensor  # type: ignore[assignment]  # as in Batch

    def to(self, device: torch.device) -> "FeatureBatch":
        """Move the batch to a device."""
        return FeatureBatch(*(tensor.to(device, non_blocking=True) for tensor in self))


AnyBatch = Batch | MixedBatch | FeatureBatch
"""What a model gets."""


class LabelledImages(NamedTuple):
    """A split, or a part of one.

    Attributes:
        images: (N, 3, H, W) uint8, or an object that decodes them when they are asked for.
        labels: (N,) int64, indices into the class names.
        given_ids: (N,) int64, a number for each image that no other image of the data set changes, such as a hash of
            its path; None if the order of the images never changes, so that their positions can serve.
    """

    images: Tensor | LazyImages
    labels: Tensor
    given_ids: Tensor | None = None

    @property
    def ids(self) -> Tensor:
        """The given ids, or the positions, (N,) int64."""
        return torch.arange(len(self.labels)) if self.given_ids is None else self.given_ids

    def subset(self, index: Tensor) -> "LabelledImages":
        """Select the images at these positions, (n,) int64; they keep their ids."""
        part = self.images[index] if isinstance(self.images, Tensor) else self.images.subset(index)
        return LabelledImages(part, self.labels[index], self.ids[index])


def evenly_spaced(size: int, count: int) -> Tensor:
    """Choose up to ``count`` of the numbers below ``size``, evenly spaced: (n,) int64.

    As positions in a split sorted by class, they cover the classes evenly.
    """
    chosen = min(size, count)
    return torch.arange(chosen) * size // max(1, chosen)
