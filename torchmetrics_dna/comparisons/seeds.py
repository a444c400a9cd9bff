"""Seeds: models that were trained several times, against one reference."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from pathlib import PurePath
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.comparisons.results import Cited
from torchmetrics_dna.files.tables import Table
from torchmetrics_dna.files.visible import number, p_figure, p_in_words
from torchmetrics_dna.functional.permutation import SIGNIFICANT, holm
from torchmetrics_dna.functional.student import student_tail

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torchmetrics_dna.comparisons.comparisons import Comparisons
    from torchmetrics_dna.dna.citation import Citation


@dataclass(frozen=True, eq=False, repr=False)
class Seeds(Cited["Sequence[str]"]):
    """Models, each trained with several seeds: a mapping of the names of a model's sets, one a seed, by model.

    Training again moves a distance more than drawing again does, so an interval of one set says nothing of the model.
    Means, deviations and tests are of the distances without noise, on the scale where they are unbiased (squares for
    dna-emd); deviations are given in the unit of the distance.

    Attributes:
        comparisons: Comparison of each set with the reference.
        results: Names of the sets of each model.

    """

    comparisons: Comparisons
    results: Mapping[str, Sequence[str]]

    @classmethod
    def of(cls, comparisons: Comparisons, model_of: Callable[[str], str] | None = None) -> Seeds:
        """Group sets by model.

        Args:
            comparisons: Comparisons of at least two models, each with at least two seeds, with folds of images.
            model_of: Function of a set's name that returns its model; by default the folder: ``gan`` of
                ``gan/seed_1``.

        Raises:
            ValueError: If there are fewer models or seeds, or no folds.

        """
        models: dict[str, list[str]] = {}
        for name in comparisons:
            models.setdefault((model_of or _folder)(name), []).append(name)
        single = next((model for model, names in models.items() if len(names) < 2), None)
        if len(models) < 2 or single is not None:
            got = "one model" if single is None else f"one seed of {single!r}"
            raise ValueError(
                f"Seeds expected two models at least with two seeds each, but got {got}; name sets `model/seed`, or"
                " give `model_of`"
            )
        if any(comparison[comparisons.distance].evidence is None for comparison in comparisons.values()):
            raise ValueError("Seeds are compared by distances without noise, which take folds; leave out `num_folds`")
        return cls(comparisons, models)

    @property
    def order(self) -> list[str]:
        """Names of the models, nearest first."""
        return sorted(self, key=lambda model: fmean(self._centres(model)))

    def mean(self, model: str) -> float:
        """Return the mean distance of a model's seeds, without noise; 0 if nothing is left."""
        mean: float = max(0.0, fmean(self._centres(model))) ** (1 / self._power)
        return mean

    def between(self, model: str) -> float | None:
        """Return the standard deviation between a model's seeds, sampling noise included; None if the mean is 0."""
        return self._in_unit(model, stdev(self._centres(model)))

    def within(self, model: str) -> float | None:
        """Return the deviation that sampling alone gives, by the jackknives of the seeds; None likewise."""
        evidence = [self.comparisons[name][self.comparisons.distance].evidence for name in self[model]]
        return self._in_unit(model, fmean(each.jackknife.variance for each in evidence if each is not None) ** 0.5)

    @property
    def p_values(self) -> dict[str, float | None]:
        """P-values that the nearest model is no nearer than each of the others (Welch, two-sided, Holm-corrected).

        The test is of the deviation between seeds. None for the nearest model itself.
        """
        nearest, *others = self.order
        return holm({nearest: None} | {model: self._welch(nearest, model) for model in others})

    @property
    def verdict(self) -> str:
        """One sentence: the nearest model, and whether the next one is further by more than seeds differ."""
        nearest, second, *_ = self.order
        p = self.p_values[second]
        assert p is not None
        figures = f"{self.comparisons.distance} {self._shown(nearest)}, of {len(self[nearest])} seeds"
        further = (
            f"and nearer than {second} by more than seeds differ"
            if p <= SIGNIFICANT
            else f"but nearer than {second} by no more than seeds differ"
        )
        return f"{nearest} is nearest to {self.comparisons.reference} ({figures}), {further} ({p_in_words(p)})."

    @property
    def _citation(self) -> Citation:
        return self.comparisons._citation

    @property
    def table(self) -> Table:
        """The models, nearest first."""
        header = ["model", "seeds", self.comparisons.distance, "between seeds", "by sampling", "p (nearest nearer)"]
        rows = [row | {"mean": self._shown(row["model"]), "p_value": p_figure(row["p_value"])} for row in self.rows()]
        return Table(
            header,
            [[*row.values()] for row in rows],
            f"{len(self)} models against {self.comparisons.reference}, without noise",
        )

    def rows(self) -> list[dict[str, Any]]:
        """Return one record per model in plain types, nearest first."""
        p_values = self.p_values
        return [
            {
                "model": model,
                "seeds": len(self[model]),
                "mean": self.mean(model),
                "between": self.between(model),
                "within": self.within(model),
                "p_value": p_values[model],
            }
            for model in self.order
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return all results in plain types, ready for json."""
        return {"verdict": self.verdict, "models": self.rows(), "seeds": self.comparisons.to_dict()}

    @property
    def _power(self) -> int:
        return next(iter(self.comparisons.values()))[self.comparisons.distance].distance.power

    def _shown(self, model: str) -> str:
        mean = self.mean(model)
        return number(mean) if mean else "below noise"

    def _centres(self, model: str) -> list[float]:
        """Return the debiased distances of the seeds on the scale where they are unbiased."""
        evidence = (self.comparisons[name][self.comparisons.distance].evidence for name in self[model])
        return [each.centre for each in evidence if each is not None]

    def _in_unit(self, model: str, deviation: float) -> float | None:
        """Convert a small deviation from that scale to the unit of the distance; None where nothing is left of it."""
        slope = self._power * self.mean(model) ** (self._power - 1)
        return deviation / slope if slope and not isnan(deviation) else None

    def _welch(self, a: str, b: str) -> float:
        first, second = self._centres(a), self._centres(b)
        parts = [stdev(values) ** 2 / len(values) for values in (first, second)]
        difference = abs(fmean(first) - fmean(second))
        if not sum(parts):
            return float(not difference)
        freedom = sum(parts) ** 2 / sum(
            part**2 / (len(values) - 1) for part, values in zip(parts, (first, second), strict=True)
        )
        return 2 * student_tail(difference / sum(parts) ** 0.5, freedom)

    def __repr__(self) -> str:
        return f"Seeds({len(self)} models, nearest {self.order[0]})"


def _folder(name: str) -> str:
    return str(PurePath(name).parent)
