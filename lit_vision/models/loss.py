"""The training loss: cross-entropy with label smoothing and class weights."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_vision.errors import UserError

ClassWeights = Literal["equal", "balanced"]


def check_label_smoothing(smoothing: float) -> None:
    """Raise a UserError if label smoothing is not in [0, 1]."""
    if not 0 <= smoothing <= 1:
        raise UserError(f"label_smoothing {smoothing} is out of range: use --model.label_smoothing 0 to 1")


def balanced_weights(labels: Tensor, classes: int) -> Tensor:
    """Weights (classes,) float32 that give all classes the same total: N / (classes * count), 0 for an empty class."""
    counts = labels.bincount(minlength=classes).double()
    return torch.where(counts > 0, len(labels) / (classes * counts.clamp(min=1)), 0.0).float()


def training_loss(
    logits: Tensor, label: Tensor, mixed: tuple[Tensor, Tensor] | None, smoothing: float, weights: Tensor | None
) -> Tensor:
    """Mean cross-entropy over a batch, a scalar.

    torch divides a weighted loss by the weights of the batch. That would give a rare image the same weight as others
    in a batch of its class, and another in each batch; here it is divided by the number of images.

    Args:
        logits: (N, classes).
        label: (N,) int64.
        mixed: label of the smaller part of each image, (N,) int64, and share of the larger part, (N,) in [0, 1]; None
            if nothing was mixed into the images.
        smoothing: label smoothing, in [0, 1].
        weights: (classes,) weights of the classes, whose mean over the training images is 1; None for none.
    """
    if weights is None and mixed is None:
        return F.cross_entropy(logits, label, label_smoothing=smoothing)

    def losses(label: Tensor) -> Tensor:
        loss = F.cross_entropy(logits, label, label_smoothing=smoothing, reduction="none")
        return loss if weights is None else loss * weights.to(loss)[label]

    if mixed is None:
        return losses(label).mean()
    other, share = mixed[0], mixed[1].to(logits)
    return (share * losses(label) + (1 - share) * losses(other)).mean()
