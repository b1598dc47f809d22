import math

import pytest
import torch
from scipy.stats import binomtest

from lit_vision.errors import UserError
from lit_vision.models.calibration import (
    NOT_CERTAIN,
    UNLIKE,
    Calibration,
    calibrate,
    calibration_error,
    check_accept,
    fit_temperature,
    is_calibration,
    needed_calibration,
    read_calibration,
)

NOTHING = torch.zeros(0, 0, dtype=torch.float16)


def drawn(temperature, images=4000, classes=5, seed=0):
    """Logits of a network, and labels that are drawn from its probabilities at that temperature."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(images, classes, generator=generator)
    return logits, torch.multinomial((logits / temperature).softmax(1), 1, generator=generator)[:, 0]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_is_found(temperature):
    logits, label = drawn(temperature)
    assert fit_temperature(logits, label) == pytest.approx(temperature, rel=0.08)
    other, other_label = drawn(temperature, seed=1)
    confidence, predicted = (other / fit_temperature(logits, label)).softmax(1).max(1)
    assert calibration_error(confidence, predicted == other_label) < 0.03
    if temperature > 1:
        uncalibrated = other.softmax(1).amax(1)
        assert calibration_error(uncalibrated, predicted == other_label) > 0.1


def test_a_few_images_that_are_all_right_do_not_make_it_certain():
    logits = torch.tensor([[1.0, 0.0]] * 5)
    assert (logits / fit_temperature(logits, torch.zeros(5, dtype=torch.int64))).softmax(1).max() < 0.99
    assert 0.018 <= fit_temperature(torch.zeros(1, 2), torch.tensor([0])) <= 55


def test_the_calibration_error_is_that_of_its_definition():
    confidence = torch.tensor([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    correct = torch.tensor([True, True, True, False, True, False])
    assert calibration_error(confidence, correct) == pytest.approx(4 / 6 * 0.2 + 2 / 6 * 0.05, abs=1e-6)


def with_mistakes(*mistakes, images=200):
    correct = torch.ones(images, dtype=torch.bool)
    correct[list(mistakes)] = False
    return Calibration(1.0, torch.linspace(1, 0.5, images), correct, NOTHING, 2.0)


def test_a_threshold_is_sure_of_what_it_promises():
    whole = with_mistakes()
    assert whole.most_accepted() == 0.985  # 0.05 ** (1 / 200), rounded down
    assert whole.threshold(0.985) == 0.5
    with pytest.raises(
        UserError, match=r"right in 0\.99 of its answers, with 200 .* the best reaches 0\.985: set --accept"
    ):
        whole.threshold(0.99)
    late = with_mistakes(*range(150, 200))
    bound = binomtest(150, 150).proportion_ci(0.9, "exact").low  # two-sided, so 95% on one side
    assert late.threshold(bound) == late.confidence[149]
    assert late.threshold(0.9) < late.confidence[149]
    for accept in (0.7, 0.8, 0.9, 0.95):
        threshold = late.threshold(accept)
        answered = late.confidence >= threshold
        right = int(late.correct[answered].sum())
        assert binomtest(right, int(answered.sum())).proportion_ci(0.9, "exact").low >= accept - 1e-6
    with pytest.raises(UserError):
        with_mistakes(*range(200)).threshold(0.001)


def test_images_of_the_same_certainty_are_answered_together():
    confidence = torch.cat([torch.ones(100), torch.full((100,), 0.6)])
    correct = torch.ones(200, dtype=torch.bool)
    correct[99] = False
    found = Calibration(1.0, confidence, correct, NOTHING, 2.0)
    assert found.threshold(0.97) == pytest.approx(0.6)
    with pytest.raises(UserError):  # the first 99 alone, of which all are right, cannot be told from the other
        found.threshold(0.98)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_promised_holds_on_other_images(seed):
    logits, label = drawn(1.0, images=2000, classes=3, seed=seed)
    found = calibrate(logits[:1000], label[:1000], None)
    probability, predicted = (logits[1000:] / found.temperature).softmax(1).max(1)
    answered = probability >= found.threshold(0.95)
    right = (predicted == label[1000:])[answered].double().mean()
    assert answered.sum() > 100
    assert right + 1.96 * math.sqrt(0.05 * 0.95 / answered.sum()) > 0.95


def test_what_is_far_from_all_that_was_seen_is_unlike():
    generator = torch.Generator().manual_seed(0)
    centre = torch.randn(64, generator=generator)
    known, new = centre + 0.3 * torch.randn(2, 300, 64, generator=generator)
    found = calibrate(torch.zeros(1, 2), torch.tensor([0]), known)
    assert (found.distances(new) > found.farthest).float().mean() < 0.05
    assert (found.distances(torch.randn(300, 64, generator=generator)) > found.farthest).float().mean() > 0.95
    assert found.why_unsure(0.9, 2.0, 0.8) == UNLIKE
    assert found.why_unsure(0.7, 2.0, 0.8) == f"{NOT_CERTAIN}; {UNLIKE}"
    assert found.why_unsure(0.7, None, 0.8) == NOT_CERTAIN
    assert found.why_unsure(0.8, 0.0, 0.8) == ""


def test_a_few_features_cannot_tell_what_is_far():
    assert not len(calibrate(torch.zeros(1, 2), torch.tensor([0]), torch.randn(10, 4)).features)


def test_it_is_kept_in_plain_values():
    found = calibrate(*drawn(2.0, images=30), torch.randn(30, 8))
    state = found.state_dict()
    assert is_calibration(state)
    read = read_calibration({"calibration": state})
    assert all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(found, read, strict=True))
    assert read_calibration({}) is None
    with pytest.raises(UserError, match=r"last\.ckpt has no calibration"):
        needed_calibration(None, "last.ckpt")
    for name, lie in {
        "temperature": [0.0, -1.0, math.nan, "1", None],
        "confidence": [None, torch.zeros(3), torch.full((30,), math.nan), torch.zeros(30, dtype=torch.int64)],
        "correct": [torch.zeros(30), torch.zeros(0, dtype=torch.bool)],
        "features": [torch.zeros(30, 8), torch.zeros(3, 8, dtype=torch.float16), None],
        "farthest": [math.inf, None],
    }.items():
        assert not any(is_calibration({**state, name: value}) for value in lie), name
    assert not is_calibration([])
    assert not is_calibration({"temperature": 1.0})


@pytest.mark.parametrize("accept", [0, 1, -0.1, 99])
def test_an_accuracy_that_cannot_be_asked_for(accept):
    with pytest.raises(UserError, match="out of range"):
        check_accept(accept)
