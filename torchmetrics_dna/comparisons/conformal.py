"""Evidence for a change in a sequence of figures. It is valid at any time and for sequences of any length.

The evidence is the stake of a gambler who bets at fair odds against "nothing has changed". If nothing has changed, the
mean of the stake does not grow. By Ville's inequality, the probability that the stake ever grows to 20 times its first
value is then at most 1 in 20.

A part of the stake is bet on each time at which a change may come. The figures before that time are the reference of
the bet. Figures after a change never enter this reference, as in conditional conformal martingales (Shaer et al., 2026,
arXiv 2602.13848). So a long change does not become part of the reference.

The odds are exact for any number of reference figures. As long as nothing changes, all figures are exchangeable. Let
there be n reference figures and m later figures, s of which are above the r-th largest reference figure. The next
figure is above that reference figure with the probability (r + s) / (n + 1 + m), as in Pólya's urn. The paper instead
uses the worst case within a confidence band of the reference. That case holds for any given reference, but it needs
hundreds of figures.
"""

from __future__ import annotations

import random
from bisect import insort
from math import log

import numpy as np

# Each time of a change has four bets. A bet compares the next figure with one figure of the reference. About this share
# of the reference is larger than that figure.
_SHARES = np.array([0.0, 0.1, 0.25, 0.5])
# Part of the stake for each of the four bets. The first part is the largest, because after a large change, almost all
# figures are larger than all figures of the reference.
_PARTS = np.array([3.0, 1.0, 1.0, 1.0]) / 6
# Pseudo-counts of figures after a change. Before any figure is seen, 9 of 10 are expected above the reference figure.
_ABOVE = 4.5
_BELOW = 0.5
# Sum of 1 / (n * log(n) ** 2) from n = 2 on. Parts of the stake are divided by it, so that they add up to 1.
_SUM = 2.109743


class ConformalEvidence:
    """Evidence that figures have become larger than before. It is the value of one unit of money after fair bets.

    Args:
        seed: Seed of the random order of equal figures.

    Example:
        >>> evidence = ConformalEvidence()
        >>> for figure in range(30):
        ...     evidence.learn(figure % 7)
        >>> [evidence.add(figure) > 20 for figure in (3, 5, 50, 51, 52, 53)]
        [False, False, False, True, True, True]

    """

    def __init__(self, seed: int = 0) -> None:
        # Figures in ascending order, each with a random number that orders equal figures.
        self._sorted: list[tuple[float, float]] = []
        self._random = random.Random(seed)
        # Part of the stake that is not yet bet. It is kept for changes at a later time.
        self._left = 1.0
        # Five values of each bet, of shape (times of a change, shares): the stake, the reference figure, its random
        # number, its rank from the largest, and the number of later figures above it.
        self._bets = np.zeros((5, 0, len(_SHARES)))

    def learn(self, figure: float) -> None:
        """Add a figure of the warm-up, without a bet."""
        insort(self._sorted, (float(figure), self._random.random()))

    def add(self, figure: float) -> float:
        """Bet on the next figure, then add it to the figures.

        Returns:
            The evidence for a change so far. If there is no change, the probability that it ever reaches 20 is at most
            5%.

        """
        self._begin_bets()
        # These are views, which are updated in place.
        stakes, limits, lots, ranks, above = self._bets
        lot = self._random.random()
        is_above = (figure > limits) | ((figure == limits) & (lot > lots))
        num_later = np.arange(len(stakes) - 1, -1, -1.0)[:, None]
        # Probability that the next figure is above the reference figure, if nothing has changed, and after a change.
        p_unchanged = (ranks + above) / (len(self._sorted) + 1)
        p_changed = (_ABOVE + above) / (_ABOVE + _BELOW + num_later)
        stakes *= np.where(is_above, p_changed / p_unchanged, (1 - p_changed) / (1 - p_unchanged))
        above += is_above
        insort(self._sorted, (float(figure), lot))
        return float(stakes.sum()) + self._left

    def _begin_bets(self) -> None:
        """Bet a part of the stake on a change that comes now. All figures so far are the reference."""
        # The first time has the number 2, as the logarithm of 1 is 0.
        time = self._bets.shape[1] + 2
        stake = 1 / (_SUM * time * log(time) ** 2)
        self._left -= stake
        ranks = np.maximum(1, (_SHARES * len(self._sorted)).round())
        limits, lots = np.array([self._sorted[-int(rank)] for rank in ranks]).T
        bets = np.stack([stake * _PARTS, limits, lots, ranks, np.zeros(len(ranks))])
        self._bets = np.append(self._bets, bets[:, None], axis=1)

    def usual(self, share: float) -> float:
        """Return a quantile of the figures so far: this share of the figures are smaller."""
        place = int(share * len(self._sorted))
        figure, _ = self._sorted[min(place, len(self._sorted) - 1)]
        return figure
