"""How many times as far from a reference a set is as another, such as held-out real images."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING

import torch

from torchmetrics_dna.dna.evidence import variance_of
from torchmetrics_dna.files.visible import number, percent
from torchmetrics_dna.functional.ratio import fieller
from torchmetrics_dna.functional.student import student_quantile

if TYPE_CHECKING:
    from torchmetrics_dna.dna.evidence import Evidence, Interval


@dataclass(frozen=True)
class Ratio:
    """Ratio of two distances from one reference, both without sampling noise.

    Attributes:
        value: The ratio; None where the denominator can't be told from 0.
        low: Lower end of its confidence interval; 0 where the numerator can't be told from 0.
        high: Upper end; None where the denominator can't be told from 0, so that there is none.
        confidence: Nominal coverage.

    """

    value: float | None
    low: float
    high: float | None
    confidence: float

    def __str__(self) -> str:
        """Return a cell of a table: "3.1 (2.6 to 3.8)", or "at least 2.3"."""
        return f"{self.in_words} ({self._both})" if self._both else self.in_words

    @property
    def in_words(self) -> str:
        """The ratio before "times as far as": "3.1", or "at least 2.3"."""
        return f"at least {number(self.low, 2)}" if self.value is None else number(self.value, 2)

    @property
    def ends(self) -> str:
        """Interval or level in brackets: " (95 % 2.6 to 3.8)", or " (95 %)" of what is "at least"."""
        return f" ({' '.join(filter(None, (self.level, self._both)))})"

    @property
    def level(self) -> str:
        """The confidence in per cent."""
        return percent(self.confidence)

    @property
    def _both(self) -> str:
        return "" if self.high is None else f"{number(self.low, 2)} to {number(self.high, 2)}"


def ratio_of(far: Evidence, near: Evidence) -> Ratio | None:
    """Divide a distance from a reference by that of another set, and find the interval of the ratio.

    The reference's noise is in both distances, and is taken as such: its folds are the same in both.

    Args:
        far: Evidence for the distance of the reference and a set.
        near: Evidence for that of the same reference, in the same folds, and another set.

    Returns:
        The ratio; None if neither distance can be told from 0, or their noise is unknown.

    """
    if far.interval is None or near.interval is None or near.is_below_noise:
        return None
    first, second = far.jackknife, near.jackknife
    a, b = first.sides[0], second.sides[0]  # noise of the reference, if it has folds
    variances = first.variance, second.variance
    if (a is None) != (b is None) or isnan(sum(variances)):
        return None
    covariance = 0.0
    if a is not None and b is not None:
        if not torch.equal(a[1], b[1]):
            return None
        of_both, of_far, of_near = (variance_of([side])[0] for side in ((a[0] + b[0], a[1]), a, b))
        covariance = (of_both - of_far - of_near) / 2
    confidence = far.interval.confidence
    quantile = student_quantile((1 + confidence) / 2, min(first.freedom, second.freedom))
    low, high = fieller(far.centre, near.centre, variances, covariance, quantile)
    low = low ** (1 / far.power) if _differs(far.interval) else 0.0
    if high is None or not _differs(near.interval):
        return Ratio(None, low, None, confidence) if low else None
    return Ratio(far.interval.value / near.interval.value, low, high ** (1 / far.power), confidence)


def _differs(interval: Interval) -> bool:
    return interval.excludes_zero or interval.low > 0
