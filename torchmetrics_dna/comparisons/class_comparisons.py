"""ClassComparisons: what was found of two image sets, class by class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.files.visible import number
from torchmetrics_dna.functional.permutation import SIGNIFICANT, holm, rates_of_sorted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torchmetrics_dna.comparisons.comparison import Comparison


@dataclass(frozen=True, eq=False, repr=False)
class ClassComparisons(Mapping[str, "Comparison"]):
    """How far each class of one image set is from the same class of another: a mapping of comparisons by class.

    Attributes:
        results: The comparison of each class that both sets have, by its name; they hold no DNAs.
        total: Of all images of these classes together.
        alone: Classes that only A has, and that only B has: nothing is said of these.

    """

    results: Mapping[str, Comparison]
    total: Comparison
    alone: tuple[Sequence[str], ...]

    def __getitem__(self, name: str) -> Comparison:
        return self.results[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    __eq__, __hash__ = object.__eq__, object.__hash__  # by identity: equal mappings would be compared by their tensors

    @property
    def distance(self) -> str:
        """Name of the distance that orders classes, which is dna-emd if it was found, else the first one that was."""
        return next(name for name in DISTANCES if name in self.total)

    @property
    def unreadable(self) -> list[str]:
        """One line for each image that was left out."""
        return self.total.unreadable

    @property
    def q_values(self) -> dict[str, float | None]:
        """For each class, the share of false ones among those that differ as clearly (Benjamini and Hochberg, 1995).

        From the p-values of the classes' own permutation tests; None without one.
        """
        tested = {name: p for name, one in self.items() if (p := one[self.distance].p_value) is not None}
        order = sorted(tested, key=tested.__getitem__)
        rates = rates_of_sorted(torch.tensor([tested[name] for name in order], dtype=torch.float64)).tolist()
        return dict.fromkeys(self) | dict(zip(order, rates, strict=True)) if order else dict.fromkeys(self)

    @property
    def p_holm(self) -> dict[str, float | None]:
        """For each class, whether it differs, by its permutation test.

        Corrected for the number of classes (Holm, 1979): of classes that are all alike on both sides, any ends at or
        below 0.05 in at most 5 % of calls.
        """
        return holm({name: one[self.distance].p_value for name, one in self.items()})

    @property
    def order(self) -> list[str]:
        """The classes from the furthest to the nearest, by the distance without noise if folds were kept."""
        return sorted(self, key=self._figure, reverse=True)

    @property
    def verdict(self) -> str:
        """How many classes differ and which is furthest, in one sentence."""
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

    def rows(self) -> list[dict[str, Any]]:
        """What is known of each class, in plain types, the furthest first."""
        p_holm, q_values = self.p_holm, self.q_values
        classes = [(name, self[name], p_holm[name], q_values[name]) for name in self.order]
        return [self.row(*one) for one in classes]

    def to_dict(self) -> dict[str, Any]:
        """All that was found, in plain types, ready for json."""
        return {
            "distance": self.distance,
            "verdict": self.verdict,
            "classes": self.rows(),
            "only_in_a": list(self.alone[0]),
            "only_in_b": list(self.alone[1]),
            "total": self.total.to_dict(),
            "comparisons": {name: one.to_dict() for name, one in self.items()},
        }

    def _figure(self, name: str) -> float:
        result = self[name][self.distance]
        return result.value if result.debiased is None else result.debiased

    def row(self, name: str, one: Comparison, p_holm: float | None, q: float | None) -> dict[str, Any]:
        """What is known of one comparison."""
        result = one[self.distance]
        interval = result.interval
        return {
            "class": name,
            "images_a": one.num_images["a"],
            "images_b": one.num_images["b"],
            **{other.distance.key: other.value for other in one.values()},
            f"{DISTANCES[self.distance].key}_debiased": result.debiased,
            "low": interval and interval.low,
            "high": interval and interval.high,
            "p_value": result.p_value,
            "p_holm": p_holm,
            "q_value": q,
        }

    def __repr__(self) -> str:
        return f"ClassComparisons({len(self)} classes, furthest {self.order[0]})"
