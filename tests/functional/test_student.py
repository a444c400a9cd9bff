"""Student's t against scipy; Fieller's interval against a test of each ratio, and how often it holds the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from torchmetrics_dna.functional.student import fieller, student_quantile


@pytest.mark.parametrize("denominator", [5.0, 1.0, 0.1, -2.0])
@pytest.mark.parametrize("numerator", [9.0, 0.3])
@pytest.mark.parametrize("covariance", [0.0, 0.05, -0.05])
def test_it_holds_the_ratios_that_a_test_does_not_reject(
    numerator: float, denominator: float, covariance: float
) -> None:
    low, high = fieller(numerator, denominator, (0.2, 0.1), covariance, 2.0)
    ratios = np.linspace(0, 400, 400_001)
    above = max(numerator, 0) - ratios * max(denominator, 0)
    kept = ratios[np.abs(above) <= 2 * np.sqrt(0.2 - 2 * ratios * covariance + ratios**2 * 0.1)]
    assert low == pytest.approx(kept[0], abs=2e-3)
    if high is None:
        assert kept[-1] == 400
    else:
        assert high == pytest.approx(kept[-1], abs=2e-3)


@pytest.mark.parametrize("denominator", [10.0, 2.0, 0.3])  # in its own standard deviations
def test_coverage_of_a_ratio(denominator: float) -> None:
    rng, draws = np.random.default_rng(0), 4000
    shared, own, others = rng.normal(0, 0.6, draws), rng.normal(0, 0.8, draws), rng.normal(0, 0.8, draws)
    held = 0
    for numerator, below in zip(3 * denominator + shared + own, denominator + shared + others, strict=True):
        low, high = fieller(numerator, below, (1.0, 1.0), 0.36, 1.96)
        held += low <= 3 and (high is None or high >= 3)
    assert held / draws > 0.94  # estimates below 0 count as 0, so it may hold more often


def test_nothing_is_known_of_two_that_may_be_0() -> None:
    assert fieller(0.1, 0.1, (1.0, 1.0)) == (0.0, None)


@pytest.mark.parametrize("freedom", [1, 2.3, 4, 4.7, 9, 18, 1000, np.inf])
@pytest.mark.parametrize("probability", [0.025, 0.5, 0.75, 0.95, 0.975, 0.995, 0.9995])
def test_students_t(probability: float, freedom: float) -> None:
    assert student_quantile(probability, freedom) == pytest.approx(
        student.ppf(probability, freedom), rel=1e-8, abs=1e-12
    )
