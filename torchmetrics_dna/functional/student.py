"""Student's t distribution."""

from __future__ import annotations

from math import atan, exp, isinf, lgamma, pi
from statistics import NormalDist

import numpy as np

_NODES = 64  # of the quadrature


def student_quantile(probability: float, freedom: float) -> float:
    """Return a quantile of Student's t, by expansion about the normal quantile (Abramowitz and Stegun, 26.7.5)."""
    z = NormalDist().inv_cdf(probability)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(z + sum(term / freedom**i for i, term in enumerate(terms, 1)))


def student_tail(t: float, freedom: float) -> float:
    """Return the probability that Student's t exceeds ``t``, by integration over ``atan(t / sqrt(freedom))``.

    Example:
        >>> round(student_tail(2.0, 10), 4), round(student_tail(-2.0, 10), 4)
        (0.0367, 0.9633)

    """
    if t < 0:
        return 1 - student_tail(-t, freedom)
    if isinf(freedom):
        return NormalDist().cdf(-t)
    begin = atan(t / freedom**0.5)
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    # a high power of the cosine is negligible beyond a few of its widths
    end = min(pi / 2, begin + 12 / max(freedom, 1) ** 0.5)
    angles = begin + (end - begin) * (nodes + 1) / 2
    area = float((weights * np.cos(angles) ** (freedom - 1)).sum()) * (end - begin) / 2
    return float(area * exp(lgamma((freedom + 1) / 2) - lgamma(freedom / 2)) / pi**0.5)
