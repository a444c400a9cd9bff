"""Student's t distribution, and a confidence interval for the ratio of two estimates."""

from __future__ import annotations

from functools import cache
from math import atan, exp, isinf, lgamma, pi
from statistics import NormalDist
from typing import Any

import numpy as np


def student_quantile(probability: float, freedom: float) -> float:
    """Return a quantile of Student's t distribution.

    Args:
        probability: Probability of a value below the quantile.
        freedom: Degrees of freedom.

    Example:
        >>> round(student_quantile(0.975, 4), 4), round(student_quantile(0.025, 4), 4)
        (2.7764, -2.7764)

    """
    if probability < 0.5:
        return -student_quantile(1 - probability, freedom)
    low = 0.0
    high = 1.0
    while student_tail(high, freedom) > 1 - probability:
        low = high
        high = 2 * high
    middle = (low + high) / 2
    # The search ends when no float64 is between both ends.
    while low < middle < high:
        if student_tail(middle, freedom) > 1 - probability:
            low = middle
        else:
            high = middle
        middle = (low + high) / 2
    return low


def student_tail(t: float, freedom: float) -> float:
    """Return the probability that Student's t exceeds ``t``.

    The density is integrated numerically over the angle ``atan(t / sqrt(freedom))``.

    Args:
        t: Value to exceed.
        freedom: Degrees of freedom.

    Example:
        >>> round(student_tail(2.0, 10), 4), round(student_tail(-2.0, 10), 4)
        (0.0367, 0.9633)

    """
    if t < 0:
        return 1 - student_tail(-t, freedom)
    if isinf(freedom):
        return NormalDist().cdf(-t)
    begin = atan(t / freedom**0.5)
    nodes, weights = _quadrature(64)
    # The density is a power of the cosine. For a high power, it is negligible at larger angles than this one.
    end = min(pi / 2, begin + 12 / max(freedom, 1) ** 0.5)
    angles = begin + (end - begin) * (nodes + 1) / 2
    densities = np.cos(angles) ** (freedom - 1)
    area = float((weights * densities).sum()) * (end - begin) / 2
    ratio_of_gammas = exp(lgamma((freedom + 1) / 2) - lgamma(freedom / 2))
    return float(area * ratio_of_gammas / pi**0.5)


_quadrature: Any = cache(np.polynomial.legendre.leggauss)


def fieller(
    numerator: float,
    denominator: float,
    variances: tuple[float, float],
    covariance: float,
    quantile: float,
) -> tuple[float, float | None]:
    """Compute Fieller's confidence interval for the ratio of two quantities that are 0 or more.

    The interval consists of the ratios for which a test of ``numerator - ratio * denominator = 0`` is not significant.
    So its coverage is that of the test, even if the denominator is close to 0.

    Args:
        numerator: Estimate of the numerator. A negative estimate counts as 0.
        denominator: Estimate of the denominator. A negative estimate counts as 0.
        variances: Variances of the numerator and of the denominator.
        covariance: Covariance of both estimates.
        quantile: One-sided quantile of Student's or the normal distribution.

    Returns:
        The lower end, 0 or more, and the upper end. The upper end is None if the denominator may be 0, so that the
        ratio is unbounded.

    Example:
        >>> [round(end, 3) for end in fieller(6.0, 2.0, (0.01, 0.01), 0.0, 2.0)]
        [2.711, 3.35]
        >>> fieller(6.0, 0.1, (0.01, 0.01), 0.0, 2.0)[1] is None
        True

    """
    numerator = max(numerator, 0.0)
    denominator = max(denominator, 0.0)
    variance_of_numerator, variance_of_denominator = variances
    # The ends are the roots of a * ratio ** 2 - 2 * b * ratio + c.
    a = denominator**2 - quantile**2 * variance_of_denominator
    b = numerator * denominator - quantile**2 * covariance
    c = numerator**2 - quantile**2 * variance_of_numerator
    root = max(b**2 - a * c, 0.0) ** 0.5
    low = c / (b + root) if c > 0 else 0.0
    high = (b + root) / a if a > 0 else None
    return low, high
