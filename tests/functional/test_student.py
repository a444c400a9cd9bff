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


def test_nothing_is_known_of_two_that_may_be_0() -> None:
    assert fieller(0.1, 0.1, (1.0, 1.0)) == (0.0, None)


@pytest.mark.parametrize("freedom", [1, 2.3, 4, 4.7, 9, 18, 1000, np.inf])
@pytest.mark.parametrize("probability", [0.025, 0.5, 0.75, 0.95, 0.975, 0.995, 0.9995])
def test_students_t(probability: float, freedom: float) -> None:
    assert student_quantile(probability, freedom) == pytest.approx(
        student.ppf(probability, freedom), rel=1e-8, abs=1e-12
    )
