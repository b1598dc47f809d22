"""How far the probabilities of a network can be trusted, found out on images that it was not trained on."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_calibration_error

from lit_vision.errors import UserError
from lit_vision.utils.log import log_info

BINS = 15
"""Bins of equal width for the expected calibration error, as in Guo et al., "On Calibration of Modern Neural Networks",
2017."""

NOT_CERTAIN, UNLIKE = "not certain enough", "unlike anything seen"
"""Why a network is unsure of an image."""

_STEPS = 20  # of bisection, which halve an interval of 8 to 8e-6
_MOST_LOG = 4.0  # of an inverse temperature
_DEVIATION = 0.35  # of the prior; chosen on ants and bees, where 49 held-out images are often all predicted right
_SURE = 0.95  # confidence of what a threshold promises
_NEIGHBOURS = 5
_FEWEST = 4 * _NEIGHBOURS  # features that can tell what is far
_FAR = 0.01  # share of the images that the network knows which are taken for unlike


class Calibration(NamedTuple):
    """What the validation images tell of a network, as its checkpoints keep it.

    Attributes:
        temperature: logits are divided by it before the softmax (Guo et al., 2017); 1 changes nothing.
        confidence: (n,) float32, calibrated probability of the predicted class of each image, in descending order.
        correct: (n,) bool, whether that class is the true one.
        features: (m, width) float16 of unit length, inputs of the last layer for images that the network has seen;
            (0, 0) if there are too few to tell what is far from them.
        farthest: the distance from the features up to which an image is like those, see :meth:`distances`.
    """

    temperature: float
    confidence: Tensor
    correct: Tensor
    features: Tensor
    farthest: float

    def threshold(self, accept: float) -> float:
        """The lowest probability from which on the network is right in a share ``accept`` of what it answers.

        That is so with a confidence of 95%: what counts is the lower bound of the accuracy (Geifman and El-Yaniv,
        "Selective Classification for Deep Neural Networks", 2017).

        Raises:
            UserError: no threshold reaches that.
        """
        promised = self._promised()
        reached = (promised >= accept - 1e-6).nonzero().flatten()
        if not len(reached):
            raise UserError(
                f"no threshold makes sure that the network is right in {accept:.4g} of its answers, with "
                f"{len(self.correct):,} validation images, and the best reaches {self.most_accepted():.3f}: set "
                "--accept to that or less, or hold out more images"
            )
        return float(self.confidence[reached[-1]])

    def most_accepted(self) -> float:
        """The highest accuracy that a threshold can make sure of, in [0, 1], rounded down to three digits."""
        return math.floor(1000 * float(self._promised().max())) / 1000

    def _promised(self) -> Tensor:
        """For a threshold at each image's confidence, the lower bound of the accuracy above it, (n,) float64."""
        from scipy.special import betaincinv  # takes a moment to import

        right, answered = self.correct.cumsum(0), torch.arange(1, len(self.correct) + 1)
        successes, failures = right.clamp(min=1).numpy(), (answered - right + 1).numpy()
        bound = torch.from_numpy(betaincinv(successes, failures, 1 - _SURE))  # Clopper and Pearson
        # images of equal confidence are answered together or not at all
        ends = torch.ones(len(right), dtype=torch.bool)
        ends[:-1] = self.confidence[:-1] > self.confidence[1:]
        return torch.where(ends & (right > 0), bound, torch.zeros((), dtype=torch.float64))

    def distances(self, features: Tensor) -> Tensor:
        """Distances of features (N, width) from those of the images that the network has seen, (N,) in [0, 2].

        That is 1 minus the cosine of the angle to the fifth nearest (Sun et al., "Out-of-Distribution Detection with
        Deep Nearest Neighbors", 2022).
        """
        return _distances(features, self.features.to(features.device))

    def why_unsure(self, probability: float, distance: float | None, threshold: float) -> str:
        """Say why the network is unsure of an image; empty if it is not.

        Args:
            probability: calibrated probability of the predicted class.
            distance: see :meth:`distances`; None if it is not known.
            threshold: see :meth:`threshold`.
        """
        reasons = [NOT_CERTAIN] if probability < threshold else []
        if distance is not None and distance > self.farthest:
            reasons.append(UNLIKE)
        return "; ".join(reasons)

    def state_dict(self) -> dict[str, Any]:
        """Return plain values and tensors, for a checkpoint."""
        return self._asdict()


def calibrate(logits: Tensor, label: Tensor, features: Tensor | None) -> Calibration:
    """Fit a temperature, and note how certain and how far from each other the images are.

    Args:
        logits: (n, classes) floating point, of validation images, with n at least 1.
        label: (n,) int64, their true classes.
        features: (m, width) floating point, inputs of the last layer for images that the network has seen; None if
            there are none.
    """
    temperature = fit_temperature(logits, label)
    confidence, predicted = (logits.float() / temperature).softmax(1).max(1)
    order = confidence.argsort(descending=True, stable=True)
    known, farthest = torch.zeros(0, 0, dtype=torch.float16), 2.0
    if features is not None and len(features) >= _FEWEST:
        known = torch.nn.functional.normalize(features.float(), dim=1).half()
        among = _distances(known, known, themselves=True).sort().values
        farthest = float(among[min(len(among), math.ceil((len(among) + 1) * (1 - _FAR))) - 1])
    return Calibration(temperature, confidence[order], (predicted == label)[order], known, farthest)


def _distances(features: Tensor, known: Tensor, themselves: bool = False) -> Tensor:
    cosine = torch.nn.functional.normalize(features.float(), dim=1) @ known.float().T
    if themselves:
        cosine.fill_diagonal_(-1)
    return 1 - cosine.topk(_NEIGHBOURS, dim=1).values[:, -1]


def fit_temperature(logits: Tensor, label: Tensor) -> float:
    """Find the temperature with the lowest loss, in [0.018, 55].

    The temperature has a prior, a normal distribution of its logarithm around 0 with a deviation of 0.35. So a few
    images that are all predicted right do not make the network certain of everything.

    Args:
        logits: (n, classes) floating point.
        label: (n,) int64.
    """
    z = logits.double()
    true = z.gather(1, label[:, None])[:, 0]
    low, high = -_MOST_LOG, _MOST_LOG
    for _ in range(_STEPS):
        middle = (low + high) / 2
        inverse = math.exp(middle)
        expected = ((inverse * z).softmax(1) * z).sum(1)
        # of loss and prior, by the logarithm of the inverse
        slope = inverse * float((expected - true).sum()) + middle / _DEVIATION**2
        low, high = (low, middle) if slope > 0 else (middle, high)
    return math.exp(-(low + high) / 2)


def calibration_error(confidence: Tensor, correct: Tensor) -> float:
    """Expected calibration error: the mean difference between certainty and accuracy, in [0, 1].

    Args:
        confidence: (n,) floating point, probability of the predicted class.
        correct: (n,) bool.
    """
    return float(binary_calibration_error(confidence.float().contiguous(), correct.long(), n_bins=BINS, norm="l1"))


class Doubts:
    """Says which images a network is unsure of.

    Args:
        calibration: that of the network.
        accept: the share of right answers that is asked for.
        at_most: whether less will do, if the validation images cannot make sure of that.

    Raises:
        UserError: no threshold reaches ``accept``.
    """

    def __init__(self, calibration: Calibration, accept: float, at_most: bool) -> None:
        self._calibration = calibration
        accept = min(accept, calibration.most_accepted()) if at_most else accept
        self._threshold = calibration.threshold(accept)
        if not len(calibration.features):
            log_info("the checkpoint cannot tell what is unlike anything seen: it has no features of images")
        log_info(
            f"a probability of at least {self._threshold:.4f} is right in at least {accept:.1%} of all cases, as far "
            f"as {len(calibration.correct):,} validation images can tell"
        )

    def about(self, probabilities: Sequence[float], distance: float | None) -> str:
        """Why the network is unsure of an image, of which ``distance`` may not be known; empty if it is not."""
        return self._calibration.why_unsure(max(probabilities), distance, self._threshold)


def needed_calibration(found: Calibration | None, path: object) -> Calibration:
    """Return the calibration of a checkpoint that must have one.

    Raises:
        UserError: it has none.
    """
    if found is None:
        raise UserError(
            f"{path} has no calibration, since its run had no validation images after its last step: train with "
            "--data.val_size above 0, or use best.ckpt"
        )
    return found


def check_accept(accept: float) -> None:
    """Check that an accuracy can be asked for.

    Raises:
        UserError: it is not between 0 and 1.
    """
    if not 0 < accept < 1:
        raise UserError(f"accept {accept} is out of range: use --accept above 0 and below 1, such as 0.99")


def read_calibration(checkpoint: Mapping[str, Any]) -> Calibration | None:
    """Take the calibration from a checkpoint; None if it has none."""
    state = checkpoint.get("calibration")
    return None if state is None else Calibration(**state)


def is_calibration(state: object) -> bool:
    """Whether what a checkpoint holds can be a calibration."""
    if state is None:
        return True
    if not isinstance(state, dict) or state.keys() != set(Calibration._fields):
        return False
    temperature, confidence, correct, features, farthest = (state[name] for name in Calibration._fields)
    if not all(isinstance(number, float) and math.isfinite(number) for number in (temperature, farthest)):
        return False
    return (
        math.exp(-_MOST_LOG) / 2 < temperature < 2 * math.exp(_MOST_LOG)
        and _is_tensor(confidence, [torch.float32], 1)
        and _is_tensor(correct, [torch.bool], 1)
        and len(confidence) == len(correct) > 0
        and _is_tensor(features, [torch.float16], 2)
        and (not len(features) or len(features) >= _NEIGHBOURS)
    )


def _is_tensor(value: object, dtypes: Sequence[torch.dtype], dim: int) -> bool:
    is_one = (
        isinstance(value, Tensor) and value.layout is torch.strided and value.dtype in dtypes and value.dim() == dim
    )
    return is_one and bool(value.isfinite().all())  # type: ignore[attr-defined]  # is_one says that it is a Tensor
