"""Has a sequence of figures changed? Evidence that stays valid however long, and however often, one looks.

The evidence is the stake of a gambler who bets at fair odds against "nothing has changed". If nothing has changed, the
mean of the stake does not grow. By Ville's inequality, the probability that the stake ever grows to 20 times its first
value is then at most 1 in 20. The stake is split over all times at which a change may come. For each such time, the
figures before it are its reference. Figures after a change never enter this reference, as in conditional conformal
martingales (Shaer et al., 2026, arXiv 2602.13848). So a long change does not become part of what is usual.

The odds are exact for any number of reference figures. As long as nothing changes, all figures are exchangeable. Let
there be n reference figures and m later ones, s of which are above the r-th largest reference figure. The next figure
is above it with the probability (r + s) / (n + 1 + m), as in Pólya's urn. The paper uses the worst case within a
confidence band about the reference instead. That holds for a given reference, but needs hundreds of figures.
"""

from __future__ import annotations

import random
from bisect import insort
from math import log

import numpy as np

# Each bet compares the next figure with the largest figures of the reference, up to this share of them. Large changes
# exceed the whole reference, so that bet has the largest part of the stake.
_SHARES = np.array([0.0, 0.1, 0.25, 0.5])
# Part of the stake for each of these shares.
_PARTS = np.array([3.0, 1.0, 1.0, 1.0]) / 6
# Pseudo-counts of figures after a change: before any is seen, 9 of 10 are expected above the reference figure.
_ABOVE = 4.5
_BELOW = 0.5
# Sum of 1 / (n * log(n) ** 2) from n = 2 on, so that the parts of the stake add up to 1.
_SUM = 2.109743


class ConformalEvidence:
    """Evidence that figures have become larger than earlier ones: the value of one unit of money after fair bets.

    Args:
        seed: Equal figures are ordered by lot, drawn by it.

    Example:
        >>> evidence = ConformalEvidence()
        >>> for figure in range(30):
        ...     evidence.learn(figure % 7)
        >>> [evidence.add(figure) > 20 for figure in (3, 5, 50, 51, 52, 53)]
        [False, False, False, True, True, True]

    """

    def __init__(self, seed: int = 0) -> None:
        # Figures, each with a random number that orders equal figures.
        self._sorted: list[tuple[float, float]] = []
        self._random = random.Random(seed)
        # Part of the stake that is left for changes at a later time.
        self._left = 1.0
        # Five values for each time at which a change may come and each share: what the stake has become, the reference
        # figure, its random number, its rank from the largest, and how many figures since were above it.
        self._bets = np.zeros((5, 0, len(_SHARES)))

    def learn(self, figure: float) -> None:
        """Add a figure to those before any change, without a bet."""
        insort(self._sorted, (float(figure), self._random.random()))

    def add(self, figure: float) -> float:
        """Bet on the next figure, and keep it.

        Returns:
            The evidence for a change so far. If there is no change, the probability that it ever reaches 20 is at most
            5%.

        """
        # Stake a part on a change that comes now. All figures so far are its reference.
        begun = self._bets.shape[1] + 2
        count = len(self._sorted)
        stake = 1 / (_SUM * begun * log(begun) ** 2)
        self._left -= stake
        first = np.maximum(1, (_SHARES * count).round())
        ends = np.array([self._sorted[-int(rank)] for rank in first]).T
        bets = np.stack([stake * _PARTS, *ends, first, np.zeros(len(first))])
        self._bets = np.append(self._bets, bets[:, None], axis=1)
        stakes, limits, lots, ranks, above = self._bets
        lot = self._random.random()
        is_above = (figure > limits) | ((figure == limits) & (lot > lots))
        num_since = np.arange(len(stakes) - 1, -1, -1.0)[:, None]
        usual = (ranks + above) / (len(self._sorted) + 1)
        changed = (_ABOVE + above) / (_ABOVE + _BELOW + num_since)
        stakes *= np.where(is_above, changed / usual, (1 - changed) / (1 - usual))
        above += is_above
        insort(self._sorted, (float(figure), lot))
        return float(stakes.sum()) + self._left

    def usual(self, share: float) -> float:
        """Quantile of the figures so far: this share of them are below it."""
        return self._sorted[min(len(self._sorted) - 1, int(share * len(self._sorted)))][0]
