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
