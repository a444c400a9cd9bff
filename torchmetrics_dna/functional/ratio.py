"""Interval of a ratio of two noisy figures."""

from __future__ import annotations


def fieller(
    numerator: float,
    denominator: float,
    variances: tuple[float, float],
    covariance: float = 0.0,
    quantile: float = 1.96,
) -> tuple[float, float | None]:
    """Compute Fieller's interval for the ratio of two quantities of 0 or more.

    It holds the ratios that a test of ``numerator - ratio * denominator`` does not reject, so it covers as such a test
    does, however near to 0 the denominator is. Estimates below 0 count as 0, which can only lower the ends.

    Args:
        numerator: Estimate of the numerator.
        denominator: Estimate of the denominator.
        variances: Of both estimates.
        covariance: Of both estimates.
        quantile: Of Student's or the normal distribution, for one tail.

    Returns:
        The lower end, 0 or more; and the upper end, None for an endless interval: the denominator may be 0.

    Example:
        >>> [round(end, 3) for end in fieller(6.0, 2.0, (0.01, 0.01), quantile=2.0)]
        [2.711, 3.35]
        >>> fieller(6.0, 0.1, (0.01, 0.01), quantile=2.0)[1] is None
        True

    """
    g, v, t = max(numerator, 0.0), max(denominator, 0.0), quantile**2
    # the ends are the roots of a * ratio ** 2 - 2 * b * ratio + c
    a, b, c = v**2 - t * variances[1], g * v - t * covariance, g**2 - t * variances[0]
    root = max(b**2 - a * c, 0.0) ** 0.5
    low = c / (b + root) if c > 0 else 0.0
    return low, (b + root) / a if a > 0 else None
