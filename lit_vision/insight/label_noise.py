"""Labels that are likely wrong, by what networks say that did not see the image."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_vision.data.rng import random_bits

_FOLDS = 5
_ROUNDS = 2  # of folds that are drawn anew
_STEPS = 100  # of L-BFGS
_PENALTY = 0.3  # of squared weights, for standardised features: wrong labels are among the images
_SUSPICIOUS = 0.25  # of what the images of a class have in the mean


class Suspects(NamedTuple):
    """Images whose label is likely wrong, the most likely first.

    Attributes:
        index: (n,) int64, positions of the images.
        suggestion: (n,) int64, the class that they more likely are of.
        probability: (n,) float32, the probability of that class, in [0, 1].
        own: (n,) float32, the probability of the class of their label.
    """

    index: Tensor  # type: ignore[assignment]  # hides tuple.index
    suggestion: Tensor
    probability: Tensor
    own: Tensor


def out_of_fold(features: Tensor, labels: Tensor, classes: int, groups: Tensor) -> Tensor:
    """Probabilities of each image by linear classifiers that did not train on it, (N, classes) float32.

    Args:
        features: (N, width) float32.
        labels: (N,) int64.
        classes: number of classes.
        groups: (N,) int64 of at least 0, a number for each image that its copies share, so that they are in one fold.
    """
    probabilities = torch.zeros(len(labels), classes)
    for number in range(_ROUNDS):
        fold = _folds(labels, groups, number)
        for held_out in range(_FOLDS):
            test = fold == held_out
            if test.all():
                probabilities += 1 / classes
            elif test.any():
                probabilities[test] += _fit(features[~test], labels[~test], classes, features[test])
    return probabilities / _ROUNDS


def _folds(labels: Tensor, groups: Tensor, number: int) -> Tensor:
    """A fold for each image, with as many of each class in each but for copies, (N,) int64."""
    order = random_bits(groups, 0, f"folds {number}").argsort(stable=True)
    fold = torch.empty(len(labels), dtype=torch.int64)
    for label in labels.unique().tolist():
        members = order[labels[order] == label]
        fold[members] = torch.arange(len(members)) % _FOLDS
    positions = torch.arange(len(labels))
    first = torch.full((int(groups.max()) + 1,), len(labels)).scatter_reduce(0, groups, positions, reduce="amin")
    return fold[first[groups]]


def _fit(features: Tensor, labels: Tensor, classes: int, others: Tensor) -> Tensor:
    """Probabilities of other images by a logistic regression."""
    mean, scale = features.mean(0), features.std(0).clamp(min=1e-6)
    x, z = ((part - mean) / scale for part in (features, others))
    weight = torch.zeros(x.shape[1], classes, requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(x @ weight + bias, labels) + _PENALTY * weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    return (z @ weight.detach() + bias.detach()).softmax(1)


def find_suspects(probabilities: Tensor, labels: Tensor) -> Suspects:
    """Find labels that are likely wrong, by confident learning (Northcutt et al., 2021).

    Probabilities count in relation to their mean over the images of the class, so no class is suspected as a whole.
    A suspect is an image for which another class is likelier, and its own has less than a quarter of that mean.

    Args:
        probabilities: (N, classes) floating point, of networks that did not train on the image.
        labels: (N,) int64.
    """
    classes = probabilities.shape[1]
    own = probabilities.gather(1, labels[:, None])[:, 0]
    counts = torch.bincount(labels, minlength=classes)
    means = torch.bincount(labels, own.double(), minlength=classes).float() / counts.clamp(min=1)
    relative = (probabilities / means.clamp(min=1e-9)).masked_fill(
        counts == 0, 0
    )  # nothing is of a class without images
    suggestion = relative.argmax(1)
    trust = relative.gather(1, labels[:, None])[:, 0]
    index = ((suggestion != labels) & (trust < _SUSPICIOUS)).nonzero().flatten()
    index = index[trust[index].argsort(stable=True)]
    suggestion = suggestion[index]
    return Suspects(index, suggestion, probabilities[index, suggestion], own[index])
