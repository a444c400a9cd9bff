"""Base of comparisons by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torchmetrics_dna.comparisons.results import Cited
from torchmetrics_dna.functional.permutation import holm

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.dna.distance import Distance


class ManyComparisons(Cited["Comparison"]):
    """Comparisons by name, of several sets or of classes, with one test each."""

    @property
    def distance(self) -> str:
        """Name of the distance that gives the order: dna-emd if it was measured, else the first."""
        return next(
            name
            for name, result in next(iter(self.values())).items()
            if not result.distance.higher_is_better and all(name in comparison for comparison in self.values())
        )

    @property
    def p_holm(self) -> dict[str, float | None]:
        """P-value of each comparison, corrected for their number (Holm, 1979); None without a test.

        If no two sides differ, any of them ends at or below 0.05 in at most 5 % of calls.
        """
        return holm({name: comparison[self.distance].p_value for name, comparison in self.items()})

    def _figure(self, name: str) -> float:
        """Return the debiased distance if there is one, else the plain one."""
        result = self[name][self.distance]
        return result.value if result.debiased is None else result.debiased

    @property
    def _distances(self) -> dict[str, Distance]:
        """All distances that were measured, by name; too few images can leave one out of some comparisons."""
        return {name: result.distance for comparison in self.values() for name, result in comparison.items()}

    def _record(self, comparison: Comparison, p_holm: float | None) -> dict[str, Any]:
        """Return values, interval and test of one comparison in plain types."""
        result = comparison[self.distance]
        interval = result.interval
        return {
            **comparison.values_of(self._distances.values()),
            f"{result.distance.key}_debiased": result.debiased,
            "low": interval and interval.low,
            "high": interval and interval.high,
            "p_value": result.p_value,
            "p_holm": p_holm,
        }
