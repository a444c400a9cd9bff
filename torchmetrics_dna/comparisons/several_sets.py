"""Comparisons: several image sets against one reference."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from math import inf, isnan
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar

from torchmetrics_dna.checks import brief
from torchmetrics_dna.comparisons.two_sets import ByName, Comparison
from torchmetrics_dna.dna.evidence import Evidence, Ratio, paired_p_value, ratio_of
from torchmetrics_dna.functional.improvement import Improvement, improvement_of
from torchmetrics_dna.functional.permutation import SIGNIFICANT, holm
from torchmetrics_dna.images.paths import public, public_names
from torchmetrics_dna.images.properties import neuron_name
from torchmetrics_dna.jobs.measure import Measured, unreadable_of
from torchmetrics_dna.options import argument
from torchmetrics_dna.plots import plot_curve

if TYPE_CHECKING:
    from torchmetrics_dna.dna.distances import Distance


class ManyComparisons(ByName["Comparison"]):
    """Mapping of comparisons by name of the set or of the class. Each comparison has its own test."""

    @property
    def distance(self) -> str:
        """Name of the distance that orders the sets. It is dna-emd if that was measured, else the first distance."""
        first = next(iter(self.values()))
        for name, result in first.items():
            in_all = all(name in comparison for comparison in self.values())
            if in_all and not result.distance.higher_is_better:
                return name
        raise ValueError("The comparisons have no distance in common")

    @property
    def p_holm(self) -> dict[str, float | None]:
        """P-value of each comparison, by network and properties, corrected for the number of comparisons (Holm, 1979).

        None without a test. If none of the sets differ, the probability that any p-value is 0.05 or less is at most 5%.
        """
        return holm({name: comparison.p_value_of_any for name, comparison in self.items()})

    def own_p_values(self, distance: str) -> dict[str, float | None]:
        """Return the p-value of one distance in each comparison, corrected in the same way as :attr:`p_holm`."""
        p_values: dict[str, float | None] = {}
        for name, comparison in self.items():
            result = comparison.results.get(distance)
            p_values[name] = None if result is None else result.p_value
        return holm(p_values)

    def figure(self, name: str) -> float:
        """Return the debiased distance of a comparison; the biased distance if it can't be debiased."""
        result = self[name][self.distance]
        return result.value if result.debiased is None else result.debiased

    @property
    def distances(self) -> dict[str, Distance]:
        """All distances that were measured, by name. Comparisons of few images may lack some of the distances."""
        distances: dict[str, Distance] = {}
        for comparison in self.values():
            for name, result in comparison.items():
                distances[name] = result.distance
        return distances


@dataclass(frozen=True, eq=False, repr=False)
class Comparisons(ManyComparisons):
    """Distances of several sets from one reference, and the closest set. It is a mapping of comparisons by name.

    Attributes:
        reference: Name of the reference.
        results: Comparison of each set with the reference, by name of the set, in the given order.
        held_out: Name of the set of held-out images, which can't be the closest set; None if there is none.

    """

    SHOWN_BY: ClassVar[str] = "several_sets"

    reference: str
    results: Mapping[str, Comparison]
    held_out: str | None = None

    @property
    def best(self) -> str:
        """Name of the closest set. Distances are debiased if possible. A distance of exactly 0 comes first."""
        return min((name for name in self if name != self.held_out), key=self._order)

    def ratios(self, distance: str | None = None) -> dict[str, Ratio | None]:
        """Return the debiased distance of each set relative to the distance of the held-out set.

        Args:
            distance: Name of the distance. The default is the distance that orders the sets.

        Returns:
            The ratio of each set except the held-out set; empty without a held-out set. A ratio is None without folds
            of images, and if neither the set nor the held-out set differs from the reference. It is also None if one of
            them shares images with the reference.

        """
        return self._ratios(distance or self.distance, of_properties=False)

    def property_ratios(self, distance: str | None = None) -> dict[str, Ratio | None]:
        """Return the ratios of :meth:`ratios` for image properties.

        A set then has two ratios. The probability that both of their intervals are right is at least 95%.
        """
        return self._ratios(distance or self.distance, of_properties=True)

    def _ratios(self, distance: str, *, of_properties: bool) -> dict[str, Ratio | None]:
        """Return the ratio of each set, by the network or by image properties."""
        if self.held_out is None:
            return {}
        of_held_out = self[self.held_out]
        ratios: dict[str, Ratio | None] = {}
        for name, comparison in self.items():
            if name != self.held_out:
                ratios[name] = _ratio_to_held_out(comparison, of_held_out, distance, of_properties=of_properties)
        return ratios

    def main_property(self, name: str) -> str:
        """Return the property in which a set is farthest from the reference."""
        properties = self[name].properties
        assert properties is not None
        values = properties[self.distance].values
        return neuron_name(*properties.neurons.locate(int(values.argmax())))

    @property
    def p_values(self) -> dict[str, float | None]:
        """P-values of the test of whether the best set is closer than each other set, a paired test over folds.

        The p-values are corrected for the number of sets (Holm, 1979). The best set itself has None. All sets have None
        without folds. The test ignores that the best set was chosen by the same values. If all sets are samples of the
        same distribution, it still rejects in less than 5% of draws (docs/experiments/significance.md).

        The test assumes that sets are independent of the reference. So a set that shares images with the reference has
        no p-value. A set that has the same images as the reference can't be the best set.
        """
        p_values: dict[str, float | None] = dict.fromkeys(self)
        ranked = self.ranked
        if not ranked:
            return p_values
        best = ranked[0]
        return p_values | holm({name: self._p_value_of_pair(best, name) for name in ranked[1:]})

    @property
    def ranked(self) -> list[str]:
        """Names of the sets, the closest first, without the held-out set and sets that equal the reference."""
        names = [name for name in self if name != self.held_out and not self[name].same_images]
        return sorted(names, key=self._order)

    @property
    def positions(self) -> list[float] | None:
        """Last number in the name of each set, such as a step or an epoch. The held-out set is left out.

        None if a name has no number, or if two numbers are equal.

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
        """The last set that is significantly closer to the reference than the best set before it.

        Sets are compared in the order of :attr:`positions`. The first set is the best set so far. A later set becomes
        the best set so far if it is significantly closer, by the distance that orders the sets. None without positions,
        or without folds of images.
        """
        positions = self.positions
        if positions is None:
            return None
        names = [name for name in self if name != self.held_out]
        positions_by_name: dict[str, float] = {}
        for name, position in zip(names, positions, strict=True):
            if self[name].same_images:
                continue
            if self[name][self.distance].evidence is None:
                return None
            positions_by_name[name] = position
        return improvement_of(positions_by_name, self._p_value_of_pair, self._order)

    @property
    def unreadable(self) -> list[str]:
        """One line for each image of the reference or of a set that was left out."""
        sides: list[Measured] = []
        for comparison in self.values():
            sides += comparison.measured or ()
        return unreadable_of(sides)

    def p_farther(self, name: str, distance: str | None = None) -> float | None:
        """Return the p-value of the test of whether a set is farther from the reference than the held-out set.

        None for the held-out set itself, without folds of images, and if the distance was not tested.
        """
        result = self[name].get(distance or self.distance)
        if result is None or result.evidence is None or result.evidence.farther is None:
            return None
        return result.evidence.farther.p_value

    @property
    def noun(self) -> str:
        """Noun of what was compared, ``"image"``, ``"row"`` or ``"input"``."""
        return next(iter(self.values())).noun

    def by(self, distance: str) -> Comparisons:
        """Return the same comparisons with one distance only, which then gives the order, the tests and the verdict.

        Raises:
            KeyError: If a comparison does not have this distance.

        """
        by_distance: dict[str, Comparison] = {}
        for name, comparison in self.items():
            result = comparison[distance]
            by_distance[name] = replace(comparison, results={result.distance.name: result})
        return Comparisons(self.reference, by_distance, self.held_out)

    def surely_nearest(self, distance: str) -> str | None:
        """Return the set that is significantly closer than each other set, by one distance; None if there is none."""
        for comparison in self.values():
            result = comparison.results.get(distance)
            if result is None or result.distance.higher_is_better:
                return None
        by_distance = self.by(distance)
        best = by_distance.best
        others = [name for name in self if name not in (best, self.held_out)]
        if not others:
            return None
        p_values = by_distance.p_values
        for name in others:
            p_value = p_values[name]
            if p_value is None or p_value > SIGNIFICANT:
                return None
        return best

    def protocol(self) -> str:
        """Describe how the figures were computed, one sentence per line, like :meth:`Comparison.protocol`."""
        # The module describes results, so it is imported when a result is described.
        protocol = import_module("torchmetrics_dna.reporting.protocol")
        return "\n".join(protocol.of_several_sets(self))

    def plot(self) -> Any:
        """Plot the distances of the sets, see :func:`~torchmetrics_dna.plots.plot_curve`."""
        return plot_curve(self)

    def _order(self, name: str) -> float:
        """Return the sort key of a set: its debiased distance, which may be negative here, so that sets do not tie.

        A set that shares images with the reference is ordered by the biased distance, since its debiased distance is
        too small.
        """
        comparison = self[name]
        result = comparison[self.distance]
        if comparison.same_images or not result.value:
            return -inf
        if result.evidence is not None and not comparison.shares_images and not isnan(result.evidence.centre):
            return result.evidence.centre
        return self.figure(name) ** self.distances[self.distance].power

    def _p_value_of_pair(self, best: str, name: str) -> float | None:
        """Return the p-value of the paired test of whether the set ``best`` is closer than another set.

        None without folds, and if one of the sets shares images with the reference.
        """
        if self[best].shares_images or self[name].shares_images:
            return None
        near = self[best][self.distance].evidence
        far = self[name][self.distance].evidence
        if near is None or far is None:
            return None
        # The test compares jackknife estimates. If their order is reversed, nothing shows that the best set is closer.
        if near.jackknife.left > far.jackknife.left:
            return 1.0
        return paired_p_value(near, far)

    def __repr__(self) -> str:
        return f"Comparisons({len(self)} sets with {self.reference}, best {self.best})"


def _ratio_to_held_out(
    comparison: Comparison, of_held_out: Comparison, distance: str, *, of_properties: bool
) -> Ratio | None:
    """Return the debiased distance of a set relative to that of the held-out set; None without evidence for both.

    None also if one of the sets shares images with the reference.

    Args:
        comparison: Comparison of the set with the reference.
        of_held_out: Comparison of the held-out set with the reference.
        distance: Name of the distance.
        of_properties: True for image properties, False for the network.

    """
    if comparison.shares_images or of_held_out.shares_images:
        return None
    evidence = _evidence_of(comparison, distance, of_properties)
    held_out_evidence = _evidence_of(of_held_out, distance, of_properties)
    if evidence is None or held_out_evidence is None:
        return None
    num_ratios = 1 if comparison.properties is None else 2
    return ratio_of(evidence, held_out_evidence, num_ratios)


def _evidence_of(comparison: Comparison, distance: str, of_properties: bool) -> Evidence | None:
    """Return the evidence for a distance, by the network or by image properties; None if there is none."""
    compared = comparison.properties if of_properties else comparison
    if compared is None:
        return None
    result = compared.results.get(distance)
    return None if result is None else result.evidence


def label(source: Any, default: str) -> str:
    """Return the name of a set: its path, its address without secrets, or the default for other sources."""
    if isinstance(source, (str, os.PathLike)):
        return public(os.fspath(source))
    return default


def short_names(labels: Sequence[str]) -> list[str]:
    """Shorten the paths of sets by the folders that they have in common.

    Example:
        >>> short_names(["runs/a/step_1/", "runs/a/step_2"])
        ['step_1', 'step_2']

    """
    paths = [PurePath(path).parts for path in labels]
    depth = _depth_in_common(paths)
    shortened = ["/".join(names[depth:]) for names in paths]
    are_distinct = len(set(shortened)) == len(labels)
    if depth and are_distinct and len(labels) > 1:
        return shortened
    return list(labels)


def _depth_in_common(paths: Sequence[tuple[str, ...]]) -> int:
    """Return the number of leading folders that all paths have in common. The last name of a path is no folder."""
    folders_of_paths = [names[:-1] for names in paths]
    depth = 0
    # One folder of each path at a time, as far as the shortest path goes.
    for folders in zip(*folders_of_paths, strict=False):
        if len(set(folders)) > 1:
            break
        depth += 1
    return depth


def names_of(a: Any, b: Any) -> tuple[str, str]:
    """Return the names by which sentences refer to two sets: their short paths, or "A" and "B".

    Example:
        >>> names_of("data/photos/", "data/generated/"), names_of("https://host/photos.zip?signature=1f", [])
        (('photos', 'generated'), ('https://host/photos.zip', 'B'))
        >>> names_of("data/photos", "data/photos")
        ('data/photos', 'data/photos (again)')

    """
    labels = [label(a, "A"), label(b, "B")]
    # The name of the root folder is its slash.
    first, second = short_names([text.rstrip("/") or "/" for text in labels])
    if first == second:
        second = f"{first} (again)"
    return first, second


def by_name(sets: Sequence[Any]) -> dict[str, Any]:
    """Return sets by their short paths. A set that is no path is named by its number.

    Raises:
        TypeError: If ``sets`` is no list.
        ValueError: If two sets have the same path.

    """
    if not isinstance(sets, (list, tuple)):
        raise TypeError(f"Argument `sets` expected to be a dict or a list of sets, but got {brief(sets)}")
    paths = []
    for number, source in enumerate(sets, 1):
        is_path = isinstance(source, (str, os.PathLike))
        paths.append(os.fspath(source) if is_path else f"set {number}")
    repeated = [path for path in paths if paths.count(path) > 1]
    if repeated:
        raise ValueError(f"Expected different sets, but got {public(repeated[0])!r} twice")
    return dict(zip(short_names(public_names(paths)), sets, strict=True))


def check_held_out(held_out: str | None, sets: Collection[str]) -> None:
    """Raise ValueError unless ``held_out`` is None, or the name of one of two or more sets."""
    if held_out is None:
        return
    if held_out not in sets:
        expected = f"one of {', '.join(sets)}" if sets else "the name of one of several sets"
        raise ValueError(f"{argument('held_out')} expected to be {expected}, but got {held_out!r}")
    if len(sets) == 1:
        raise ValueError(f"There is no set to compare with the held-out set {held_out!r}; pass one more")
