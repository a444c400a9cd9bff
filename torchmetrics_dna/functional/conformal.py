"""Has a sequence of figures changed? Evidence that stays valid however long, and however often, one looks.

As long as nothing changes, figures are exchangeable, so the rank of each among those before is uniform, and
independent of the other ranks: a conformal p-value (Vovk, Gammerman and Shafer, 2005). A bet at fair odds against that
gains nothing in the mean; by Ville's inequality its stake grows to 20 times at any time with a chance of at most 1 in
20. The stake is split over all times at which a change may come, and over ways to bet on what follows.
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right, insort
from math import log

import numpy as np

_POWERS = np.array([0.1, 0.3, 0.5, 0.8])  # a bet with power e pays e * p ** (e - 1)
_SURE = 0.9  # share of a stake that bets on all figures after a change being larger than all before
_SUM = 2.109743  # of 1 / (n * log(n) ** 2) from 2 on


class ConformalEvidence:
    """Evidence that figures have become larger than those before: what one unit of money has become by fair bets.

    Args:
        seed: Ties between figures, and the last digit of a rank, are drawn by it.

    Example:
        >>> evidence = ConformalEvidence()
        >>> for figure in range(30):
        ...     evidence.learn(figure % 7)
        >>> [evidence.add(figure) > 20 for figure in (3, 5, 50, 51, 52, 53)]
        [False, False, False, False, True, True]

    """

    def __init__(self, seed: int = 0) -> None:
        self._sorted: list[float] = []
        self._random = random.Random(seed)
        self._left = 1.0  # of the stake, for changes that come later
        self._by_power = np.zeros(len(_POWERS))
        self._by_start = np.zeros(0)

    def learn(self, figure: float) -> None:
        """Take a figure for one before any change, without a bet."""
        insort(self._sorted, float(figure))

    def add(self, figure: float) -> float:
        """Bet on the next figure, and keep it.

        Returns:
            The evidence for a change so far; 20 or more has a chance of at most 5 % at any time, if there is none.

        """
        p, count = self.p_value(figure), len(self._sorted)
        begun = len(self._by_start) + 2
        stake = 1 / (_SUM * begun * log(begun) ** 2)
        self._left -= stake
        self._by_power = (self._by_power + stake) * _POWERS * p ** (_POWERS - 1)
        self._by_start = np.append(self._by_start, stake)
        # of a change that came k figures ago, the k figures since then are the largest of all
        largest = np.arange(len(self._by_start), 0, -1) / (count + 1)
        self._by_start *= 1 - _SURE + np.where(p <= largest, _SURE / largest, 0)
        self.learn(figure)
        return float(self._by_power.mean() + self._by_start.sum()) / 2 + self._left

    def p_value(self, figure: float) -> float:
        """Share of the figures so far, this one included, that are at least as large; equal ones are drawn by lot."""
        above = len(self._sorted) - bisect_right(self._sorted, figure)
        equal = bisect_right(self._sorted, figure) - bisect_left(self._sorted, figure) + 1
        return (above + (1 - self._random.random()) * equal) / (len(self._sorted) + 1)  # never 0

    def usual(self, share: float) -> float:
        """Quantile of the figures so far: this share of them are below it."""
        return self._sorted[min(len(self._sorted) - 1, int(share * len(self._sorted)))]
