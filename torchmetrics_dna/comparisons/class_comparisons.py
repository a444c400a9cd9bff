"""ClassComparisons: results of comparing two image sets class by class."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from torchmetrics_dna.comparisons.results import ManyComparisons
from torchmetrics_dna.files.tables import Table
from torchmetrics_dna.files.visible import number, p_figure
from torchmetrics_dna.functional.permutation import SIGNIFICANT, rates_of_sorted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.dna.citation import Citation
    from torchmetrics_dna.dna.distance import Distance


@dataclass(frozen=True, eq=False, repr=False)
class ClassComparisons(ManyComparisons):
    """Distances between the same classes of two image sets: a mapping of comparisons by class.

    Attributes:
        results: Comparison of each class that both sets have, by class name, without DNAs.
        total: Comparison of all images of these classes together.
        alone: Names of the classes that only A has, and of those that only B has; they are not compared.

    """

    results: Mapping[str, Comparison]
    total: Comparison
    alone: tuple[Sequence[str], ...]

    @property
    def unreadable(self) -> list[str]:
        """One line for each image that was left out."""
        return self.total.unreadable

    @property
    def q_values(self) -> dict[str, float | None]:
        """False discovery rate of each class (Benjamini and Hochberg, 1995), None without a test.

        From the p-values of the classes' own permutation tests.
        """
        tested = {name: p for name, comparison in self.items() if (p := comparison[self.distance].p_value) is not None}
        order = sorted(tested, key=tested.__getitem__)
        rates = rates_of_sorted(torch.tensor([tested[name] for name in order], dtype=torch.float64)).tolist()
        return dict.fromkeys(self) | dict(zip(order, rates, strict=True)) if order else dict.fromkeys(self)

    @property
    def order(self) -> list[str]:
        """Names of the classes, furthest first, by the debiased distance if there is one."""
        return sorted(self, key=self._figure, reverse=True)

    @property
    def verdict(self) -> str:
        """One sentence: the number of classes that differ, and the furthest class."""
        count, q_values = len(self), self.q_values
        if all(q is None for q in q_values.values()):
            first = self.order[0]
            return f"Of {count} classes, {first} is furthest ({self.distance} {number(self._figure(first))})."
        different = [name for name in self.order if (q := q_values[name]) is not None and q <= SIGNIFICANT]
        if not different:
            return f"Of {count} classes, none differs by more than chance (q ≤ {SIGNIFICANT:g})."
        differ = f"{len(different)} differ{'s' if len(different) == 1 else ''}"
        figure = number(self[different[0]][self.distance].overall.debiased_shown)
        most = f"{different[0]} most ({self.distance} {figure})"
        return f"Of {count} classes, {differ} (q ≤ {SIGNIFICANT:g}), {most}."

    @property
    def _citation(self) -> Citation:
        return replace(self.total._citation, manner=f"all together and in each of {len(self)} classes")

    @property
    def table(self) -> Table:
        """The classes, furthest first, and all together."""
        names = {result.distance.key: name for name, result in self.total.items()}
        distance, p = self.distance, self.total[self.distance].p_value
        records = [*self.rows(), self._row("all together", self.total, p, None)]
        results = [*(self[name] for name in self.order), self.total]
        tests = {
            key: name
            for key, name in {"p_holm": "p (Holm)", "q_value": "q"}.items()
            if any(record[key] is not None for record in records)
        }
        has_folds = any(result[distance].interval for result in results)
        header = ["class", "images of A", "of B", *names.values(), *["without noise"] * has_folds, *tests.values()]
        rows: list[list[Any]] = [
            [record["class"], record["images_a"], record["images_b"], *(record[key] for key in names)]
            + [result[distance].overall.debiased_shown] * has_folds
            + [p_figure(record[key]) for key in tests]
            for record, result in zip(records, results, strict=True)
        ]
        return Table(header, rows, f"{len(self)} classes")

    def rows(self) -> list[dict[str, Any]]:
        """Return one record per class in plain types, furthest first."""
        p_holm, q_values = self.p_holm, self.q_values
        return [self._row(name, self[name], p_holm[name], q_values[name]) for name in self.order]

    def to_dict(self) -> dict[str, Any]:
        """Return all results in plain types, ready for json."""
        return {
            "distance": self.distance,
            "verdict": self.verdict,
            "classes": self.rows(),
            "only_in_a": list(self.alone[0]),
            "only_in_b": list(self.alone[1]),
            "total": self.total.to_dict(),
            "comparisons": {name: comparison.to_dict() for name, comparison in self.items()},
        }

    @property
    def _distances(self) -> dict[str, Distance]:
        return {name: result.distance for name, result in self.total.items()}

    def _row(self, name: str, comparison: Comparison, p_holm: float | None, q: float | None) -> dict[str, Any]:
        return {
            "class": name,
            "images_a": comparison.num_images["a"],
            "images_b": comparison.num_images["b"],
            **self._record(comparison, p_holm),
            "q_value": q,
        }

    def __repr__(self) -> str:
        return f"ClassComparisons({len(self)} classes, furthest {self.order[0]})"
