"""Bases of results that notebooks show, and of what holds results by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from torchmetrics_dna.dna.saving import Saved
from torchmetrics_dna.files.tables import notebook_html
from torchmetrics_dna.functional.permutation import holm

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.dna.citation import Citation
    from torchmetrics_dna.dna.distance import Distance
    from torchmetrics_dna.files.tables import Table

_T = TypeVar("_T")


class Shown(Saved, ABC):
    """Base of results that have a sentence and a table, which notebooks show."""

    @property
    @abstractmethod
    def verdict(self) -> str:
        """The result in sentences."""

    @property
    @abstractmethod
    def table(self) -> Table:
        """The result as a table."""

    def _repr_html_(self) -> str:
        return notebook_html(self.verdict, self.table)


class Results(Shown, Mapping[str, _T]):
    """A mapping of ``results``, compared and hashed by identity: equal mappings would be compared by their tensors."""

    results: Mapping[str, _T]

    def __getitem__(self, name: str) -> _T:
        return self.results[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    __eq__, __hash__ = object.__eq__, object.__hash__


class Cited(Results[_T]):
    """Results of comparisons, which say how they were computed."""

    @property
    @abstractmethod
    def _citation(self) -> Citation:
        """Citation of the comparison, or of its sets together."""

    def cite(self) -> str:
        """Say in sentences, for a methods section, how the numbers were computed.

        They name sets and numbers of images; networks, digests of their weights, layers and preparation of images;
        intervals and tests; and the versions of the packages that computed the result, also if it was loaded.
        """
        return str(self._citation)


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
            **{
                record.key: comparison[name].value if name in comparison else None
                for name, record in self._distances.items()
            },
            f"{result.distance.key}_debiased": result.debiased,
            "low": interval and interval.low,
            "high": interval and interval.high,
            "p_value": result.p_value,
            "p_holm": p_holm,
        }
