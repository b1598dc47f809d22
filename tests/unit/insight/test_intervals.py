import math

import pytest
from scipy.stats import binomtest

from lit_vision.insight.intervals import accuracy_interval, mcnemar, spread, with_interval


@pytest.mark.parametrize(("correct", "total"), [(139, 153), (0, 5), (5, 5), (1, 1), (8985, 10000)])
def test_the_interval_is_wilsons(correct, total):
    expected = binomtest(correct, total).proportion_ci(0.95, "wilson")
    assert accuracy_interval(correct, total) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_an_accuracy_is_told_with_its_interval():
    assert with_interval(139 / 153, 153) == "0.9085 (0.85 to 0.94, 95% interval of 153 images)"
    assert with_interval(0.8985, 10000) == "0.8985 (0.892 to 0.904, 95% interval of 10,000 images)"
    assert with_interval(1.0, 1).endswith("of 1 image)")


def test_mean_and_deviation():
    assert spread([0.9, 0.95, 1.0]) == pytest.approx((0.95, 0.05))
    assert spread([0.9]) == (0.9, 0.0)


def test_mcnemar_compares_what_only_one_gets_right():
    assert mcnemar(0, 0) == 1
    assert mcnemar(5, 5) == 1
    assert mcnemar(1, 9) == mcnemar(9, 1) == pytest.approx(2 * sum(math.comb(10, k) for k in (0, 1)) / 2**10)
    assert mcnemar(20, 60) < 1e-4
