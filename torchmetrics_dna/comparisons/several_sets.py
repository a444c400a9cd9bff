"""Comparisons: several image sets against one reference."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from math import inf, isnan, nan
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar

from torchmetrics_dna.checks import brief
from torchmetrics_dna.comparisons.two_sets import ByName, Comparison
from torchmetrics_dna.dna.evidence import Ratio, paired_p_value, ratio_of
from torchmetrics_dna.functional.improvement import Improvement, improvement_of
from torchmetrics_dna.functional.permutation import SIGNIFICANT, holm
from torchmetrics_dna.images.paths import public, public_names
from torchmetrics_dna.images.properties import neuron_name
from torchmetrics_dna.jobs.measure import unreadable_of
from torchmetrics_dna.options import argument
from torchmetrics_dna.plots import plot_curve

if TYPE_CHECKING:
    from torchmetrics_dna.dna.distances import Distance


class ManyComparisons(ByName["Comparison"]):
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
        """P-value of each comparison, by network and properties, corrected for their number (Holm, 1979).

        None without a test. If no two sides differ, any of them ends at or below 0.05 in at most 5 % of calls.
        """
        return holm({name: comparison.p_value_of_any for name, comparison in self.items()})

    def own_p_values(self, distance: str) -> dict[str, float | None]:
        """Return the p-values of one distance by itself, corrected likewise."""
        results = {name: comparison.results.get(distance) for name, comparison in self.items()}
        return holm({name: None if result is None else result.p_value for name, result in results.items()})

    def figure(self, name: str) -> float:
        """Return the debiased distance if there is one, else the plain one."""
        result = self[name][self.distance]
        return result.value if result.debiased is None else result.debiased

    @property
    def distances(self) -> dict[str, Distance]:
        """All distances that were measured, by name; too few images can leave one out of some comparisons."""
        return {name: result.distance for comparison in self.values() for name, result in comparison.items()}


@dataclass(frozen=True, eq=False, repr=False)
class Comparisons(ManyComparisons):
    """Distances of several sets from one reference, and the nearest set: a mapping of comparisons by name.

    Attributes:
        reference: Name of the reference.
        results: Comparison of each set with the reference, by name of the set, in the given order.
        held_out: Name of the set of held-out images, which is no candidate for the nearest; None for none.

    """

    SHOWN_BY: ClassVar[str] = "several_sets"

    reference: str
    results: Mapping[str, Comparison]
    held_out: str | None = None

    @property
    def best(self) -> str:
        """Name of the nearest set, by the debiased distance if there is one; a distance of exactly 0 comes first."""
        return min((name for name in self if name != self.held_out), key=self._order)

    def ratios(self, distance: str | None = None) -> dict[str, Ratio | None]:
        """Return how many times as far from the reference each other set is as the held-out one, by debiased distances.

        Args:
            distance: Name of the distance; by default that which orders the sets.

        Returns:
            The ratio of each set but the held-out one. None where it can't be said: without folds of images, if neither
            set can be told from the reference, or if one shares images with it. Empty without a held-out set.

        """
        return self._ratios(distance or self.distance, of_properties=False)

    def property_ratios(self, distance: str | None = None) -> dict[str, Ratio | None]:
        """Return the same as :meth:`ratios`, of image properties.

        Where they were measured, the two ratios of a set share the error: with confidence 95 %, both are right.
        """
        return self._ratios(distance or self.distance, of_properties=True)

    def _ratios(self, distance: str, *, of_properties: bool) -> dict[str, Ratio | None]:
        if self.held_out is None:
            return {}
        near = self[self.held_out]
        ratios: dict[str, Ratio | None] = {}
        for name, far in self.items():
            if name == self.held_out:
                continue
            ratios[name] = None
            questions = 1 if far.properties is None else 2
            sides = [far.properties, near.properties] if of_properties else [far, near]
            if any(side is None for side in sides) or far.shares_images or near.shares_images:
                continue
            results = [side.results.get(distance) for side in sides if side is not None]
            evidence = [result.evidence for result in results if result is not None and result.evidence is not None]
            if len(evidence) == 2:
                ratios[name] = ratio_of(evidence[0], evidence[1], questions)
        return ratios

    def main_property(self, name: str) -> str:
        """Return the property in which a set is farthest from the reference."""
        properties = self[name].properties
        assert properties is not None
        values = properties[self.distance].values
        return neuron_name(*properties.neurons.locate(int(values.argmax())))

    @property
    def p_values(self) -> dict[str, float | None]:
        """P-values of the paired test, over folds of images, that the best set is nearer than each of the others.

        Corrected for the number of sets (Holm, 1979). None for the best itself, and without folds. The best was chosen
        by the same figures, which the test ignores; if all sets are alike, it still rejects in less than 5 % of draws
        (docs/experiments/significance.md).

        The test assumes that sets are independent of the reference. So a set that shares images with it has none, and
        sets of the reference's own images are left out: the best is then that of the others.
        """
        ranked = self.ranked
        return dict.fromkeys(self) | holm({name: self._paired(ranked[0], name) for name in ranked[1:]})

    @property
    def ranked(self) -> list[str]:
        """Names of the sets, the nearest first, without the held-out one and those of the reference's own images."""
        names = [name for name in self if name != self.held_out and not self[name].same_images]
        return sorted(names, key=self._order)

    @property
    def positions(self) -> list[float] | None:
        """Last number of each set's name, such as a step or an epoch; None unless all names have distinct ones.

        The held-out set has none.

        Example:
            >>> Comparisons("real", dict.fromkeys(["run_2/step_1000", "run_2/step_2000"])).positions
            [1000.0, 2000.0]

        """
        numbers_of_names = [re.findall(r"\d+(?:\.\d+)?", name) for name in self if name != self.held_out]
        if not all(numbers_of_names):
            return None
        last = [float(numbers[-1]) for numbers in numbers_of_names]
        return last if len(set(last)) == len(last) else None

    @property
    def improvement(self) -> Improvement | None:
        """Last set, in the order of :attr:`positions`, that is significantly closer than the last such set before it.

        The first set counts as one. The distance is that which orders the sets. None without positions, or without
        folds of images.
        """
        positions = self.positions
        if positions is None:
            return None
        names = [name for name in self if name != self.held_out]
        by_name = {name: place for name, place in zip(names, positions, strict=True) if not self[name].same_images}
        if any(self[name][self.distance].evidence is None for name in by_name):
            return None
        return improvement_of(by_name, self._paired, self._order)

    @property
    def unreadable(self) -> list[str]:
        """One line for each image that was left out, of the reference and of all sets."""
        return unreadable_of(side for comparison in self.values() for side in comparison.measured or ())

    def p_farther(self, name: str, distance: str | None = None) -> float | None:
        """Return the p-value that a set is farther from the reference than the held-out one.

        None for the held-out set itself, without folds of images, and for distances of sets.
        """
        result = self[name].get(distance or self.distance)
        further = None if result is None or result.evidence is None else result.evidence.further
        return None if further is None else further.p_value

    @property
    def noun(self) -> str:
        """Noun of what was compared, as of :class:`Comparison`."""
        return next(iter(self.values())).noun

    def by(self, distance: str) -> Comparisons:
        """Return the same comparisons by one distance, which then gives order, tests and verdict.

        Raises:
            KeyError: If a comparison does not have it.

        """
        results = {name: comparison[distance] for name, comparison in self.items()}
        by_one = {name: replace(self[name], results={result.distance.name: result}) for name, result in results.items()}
        return Comparisons(self.reference, by_one, self.held_out)

    def surely_nearest(self, distance: str) -> str | None:
        """Return the set that is nearer than each other by the paired test of one distance; None if none is."""
        results = [comparison.results.get(distance) for comparison in self.values()]
        if any(result is None or result.distance.higher_is_better for result in results):
            return None
        compared = self.by(distance)
        p_values = [p for name, p in compared.p_values.items() if name not in (compared.best, self.held_out)]
        is_nearer_than_all = all(p is not None and p <= SIGNIFICANT for p in p_values)
        return compared.best if p_values and is_nearer_than_all else None

    def protocol(self) -> str:
        """Return how the figures were computed, as :meth:`Comparison.protocol`, one sentence per line."""
        # The module describes results, so it is imported when a result is described.
        protocol = import_module("torchmetrics_dna.reporting.protocol")
        return "\n".join(protocol.of_several_sets(self))

    def plot(self) -> Any:
        """Plot the distances of the sets, see :func:`~torchmetrics_dna.plots.plot_curve`."""
        return plot_curve(self)

    def _order(self, name: str) -> float:
        """Return the sort key: the debiased distance before it is clipped at 0, so that clipped sets do not tie.

        It is too small for sets that share images with the reference, as copies do; of these, the plain distance.
        """
        if self[name].same_images or not self[name][self.distance].value:
            return -inf
        evidence = self[name][self.distance].evidence
        debiased = nan if evidence is None or self[name].shares_images else evidence.centre
        return self.figure(name) ** self.distances[self.distance].power if isnan(debiased) else debiased

    def _paired(self, best: str, name: str) -> float | None:
        if self[best].shares_images or self[name].shares_images:
            return None
        near, far = (self[set_name][self.distance].evidence for set_name in (best, name))
        if near is None or far is None:
            return None
        # The test compares jackknife estimates. If these have the other order, nothing shows that the best is nearer.
        if near.jackknife.left > far.jackknife.left:
            return 1.0
        return paired_p_value(near, far)

    def __repr__(self) -> str:
        return f"Comparisons({len(self)} sets with {self.reference}, best {self.best})"


def label(source: Any, default: str) -> str:
    """Return the path of a set as it was given, an address without its secrets; or the default if it is no path."""
    return public(os.fspath(source)) if isinstance(source, (str, os.PathLike)) else default


def short_names(labels: Sequence[str]) -> list[str]:
    """Shorten paths of sets by the folders that all of them are in.

    Example:
        >>> short_names(["runs/a/step_1/", "runs/a/step_2"])
        ['step_1', 'step_2']

    """
    paths = [PurePath(path).parts for path in labels]
    depth = 0
    while paths and all(len(parts) > depth + 1 and parts[depth] == paths[0][depth] for parts in paths):
        depth += 1
    shortened = ["/".join(parts[depth:]) for parts in paths]
    return shortened if depth and len(set(shortened)) == len(labels) > 1 else list(labels)


def names_of(a: Any, b: Any) -> tuple[str, str]:
    """Return the names of two sets in sentences: their short paths, or "A" and "B".

    Example:
        >>> names_of("data/photos/", "data/generated/"), names_of("https://host/photos.zip?signature=1f", [])
        (('photos', 'generated'), ('https://host/photos.zip', 'B'))
        >>> names_of("data/photos", "data/photos")
        ('data/photos', 'data/photos (again)')

    """
    first, second = short_names([label(side, letter).rstrip("/") or "/" for side, letter in ((a, "A"), (b, "B"))])
    return (first, second) if first != second else (first, f"{first} (again)")


def by_name(sets: Sequence[Any]) -> dict[str, Any]:
    """Map sets by their short paths; ValueError if two have the same path, TypeError if it is one set."""
    if not isinstance(sets, (list, tuple)):
        raise TypeError(f"Argument `sets` expected to be a dict or a list of sets, but got {brief(sets)}")
    paths = [os.fspath(side) if isinstance(side, (str, os.PathLike)) else f"set {i}" for i, side in enumerate(sets, 1)]
    if len(set(paths)) < len(paths):
        twice = public(next(path for path in paths if paths.count(path) > 1))
        raise ValueError(f"Expected different sets, but got {twice!r} twice")
    return dict(zip(short_names(public_names(paths)), sets, strict=True))


def check_held_out(held_out: str | None, sets: Collection[str]) -> None:
    """Raise ValueError unless ``held_out`` is None or the name of one of several sets."""
    if held_out is None:
        return
    if held_out not in sets:
        expected = f"one of {', '.join(sets)}" if sets else "the name of one of several sets"
        raise ValueError(f"{argument('held_out')} expected to be {expected}, but got {held_out!r}")
    if len(sets) == 1:
        raise ValueError(f"There is no set to compare with the held-out set {held_out!r}; pass one more")
