"""Comparisons: several image sets against one reference."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isnan, nan
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.checks import brief
from torchmetrics_dna.comparisons.comparison import ByName, Comparison
from torchmetrics_dna.dna.evidence import Ratio, paired_p_value, ratio_of
from torchmetrics_dna.files.tables import Cell, Table
from torchmetrics_dna.files.visible import number, p_figure
from torchmetrics_dna.functional.permutation import SIGNIFICANT, holm
from torchmetrics_dna.images.paths import public, public_names
from torchmetrics_dna.images.properties import neuron_name
from torchmetrics_dna.images.sets import note_of_left_out
from torchmetrics_dna.jobs.measure import unreadable_of
from torchmetrics_dna.plots import plot_curve
from torchmetrics_dna.words.verdict import HeldOut, OneSet, SeveralSets, several_sets

if TYPE_CHECKING:
    from torchmetrics_dna.dna.distances import Distance
    from torchmetrics_dna.dna.result import Result

# Header of the column of ratios.
_X_HELD_OUT = "x held-out"
_EVIDENCE = ("debiased", "low", "high", "p_value")
_ERRORS = "±: jackknife standard error over folds, or else deviation over splits or subsets."
_P = (
    "p (Holm): of this distance alone, corrected for the number of sets; p (best nearer): that the nearest set is no"
    " nearer."
)
_ALIKE = "n.s."
_BOLD = f"Bold: nearer than each other set (paired test, p ≤ {SIGNIFICANT}, Holm-corrected)."


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

    def _own_p_values(self, distance: str) -> dict[str, float | None]:
        """Return the p-values of one distance by itself, corrected likewise."""
        results = {name: comparison.results.get(distance) for name, comparison in self.items()}
        return holm({name: None if result is None else result.p_value for name, result in results.items()})

    def _figure(self, name: str) -> float:
        """Return the debiased distance if there is one, else the plain one."""
        result = self[name][self.distance]
        return result.value if result.debiased is None else result.debiased

    @property
    def _distances(self) -> dict[str, Distance]:
        """All distances that were measured, by name; too few images can leave one out of some comparisons."""
        return {name: result.distance for comparison in self.values() for name, result in comparison.items()}

    def _record(self, comparison: Comparison, p_holm: float | None) -> dict[str, Any]:
        """Return value, error, interval and test of each distance in plain types, and the corrected p-value."""
        figures: dict[str, Any] = {}
        for name, record in self._distances.items():
            result = comparison.get(name)
            figures[record.key] = result and result.value
            if record.folded or record.subsets:
                figures[f"{record.key}_error"] = result and (result.standard_error or result.spread)
            if record.folded:
                of_result = dict.fromkeys(_EVIDENCE) if result is None else result.overall.to_dict()
                figures |= {f"{record.key}_{key}": of_result[key] for key in _EVIDENCE}
        return figures | {"p_holm": p_holm}


@dataclass(frozen=True, eq=False, repr=False)
class Comparisons(ManyComparisons):
    """Distances of several sets from one reference, and the nearest set: a mapping of comparisons by name.

    Attributes:
        reference: Name of the reference.
        results: Comparison of each set with the reference, by name of the set, in the given order.
        held_out: Name of the set of held-out images, which is no candidate for the nearest; None for none.

    """

    reference: str
    results: Mapping[str, Comparison]
    held_out: str | None = None

    @property
    def best(self) -> str:
        """Name of the nearest set, by the debiased distance if there is one; a distance of exactly 0 comes first."""
        return min((name for name in self if name != self.held_out), key=self._order)

    def ratios(self, distance: str | None = None) -> dict[str, Ratio | None]:
        """Return how many times as far from the reference each other set is as the held-out one, without noise.

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

    def _main_property(self, name: str) -> str:
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
        ranked = self._ranked
        return dict.fromkeys(self) | holm({name: self._paired(ranked[0], name) for name in ranked[1:]})

    @property
    def _ranked(self) -> list[str]:
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
    def unreadable(self) -> list[str]:
        """One line for each image that was left out, of the reference and of all sets."""
        return unreadable_of(side for comparison in self.values() for side in comparison.measured or ())

    @property
    def verdict(self) -> str:
        """One sentence: the best set and the evidence for it; before it, one on sets of the reference's images.

        After it, how many times as far the best set is as the held-out one, or why that can't be said.
        """
        ranked = self._ranked
        p_values = self.p_values
        p_holm = self.p_holm
        sets = [OneSet(name, self._shown(name), self[name].shares_images, p_values[name]) for name in ranked]
        equal = [name for name in self if name != self.held_out and name not in ranked]
        beside = None
        if self.held_out is not None:
            nearest = [*ranked, *equal][0]
            beside = self._beside_held_out(nearest, self.held_out, p_holm)
        tested: dict[str, float] = {}
        for name in ranked:
            p_value = p_holm[name]
            if p_value is not None:
                tested[name] = p_value
        of_sets = SeveralSets(self.reference, self.distance, sets, equal, beside, tested, self._noun)
        return "\n".join(several_sets(of_sets))

    def _beside_held_out(self, name: str, held_out: str, p_holm: Mapping[str, float | None]) -> HeldOut:
        """Return the figures of a set relative to the held-out one."""
        comparison = self[name]
        evidence = comparison[self.distance].evidence
        further = None if evidence is None or evidence.further is None else evidence.further.p_value
        of_properties = self.property_ratios()[name]
        return HeldOut(
            name,
            held_out,
            self.ratios()[name],
            len(self),
            sharing=[each for each in (name, held_out) if self[each].shares_images],
            p_values=(p_holm[name], p_holm[held_out]),
            further=further,
            further_in_any=comparison.p_value_of_further,
            furthest_in=comparison.furthest_in,
            property_ratio=of_properties,
            main_property=None if of_properties is None else self._main_property(name),
        )

    @property
    def _noun(self) -> str:
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

    @property
    def table(self) -> Table:
        """The values, with units and standard errors: a row for each set; of more metrics than sets a column each."""
        headers = {name: _header(record) for name, record in self._distances.items()}
        p_values = {name: self._own_p_values(name) for name in headers}
        rows: list[dict[str, Cell]] = []
        for set_name, comparison in self.items():
            row: dict[str, Cell] = {"set": set_name, f"{comparison.noun}s": comparison.num_images["b"]}
            for distance, header in headers.items():
                row[header] = _cell(comparison, comparison.results.get(distance), p_values[distance][set_name])
            rows.append(row)
        bold: set[tuple[int, int]] = set()
        for distance, header in headers.items():
            nearest = self.surely_nearest(distance)
            if nearest is not None:
                bold.add((list(self).index(nearest), list(rows[0]).index(header)))
        cells = [str(row[header]) for row in rows for header in headers.values()]
        has_errors = any("±" in cell for cell in cells)
        notes: list[str] = []
        if has_errors:
            notes.append(_ERRORS)
        if any(_ALIKE in cell for cell in cells):
            notes.append(f"{_ALIKE}: no more than chance, by this distance alone (p > {SIGNIFICANT}, Holm-corrected).")
        if bold:
            notes.append(_BOLD)
        if has_errors:
            notes += self._without_errors()
        notes += note_of_left_out(self.unreadable)
        table = replace(Table.of(rows, f"{len(self)} sets against {self.reference}", notes), bold=bold)
        return table.transposed() if len(self._distances) > len(self) else table

    @property
    def evidence_table(self) -> Table | None:
        """Distances without noise, their intervals and tests: a row for each distance and set; None without any."""
        rows: list[dict[str, Cell]] = []
        for name, record in self._distances.items():
            if record.higher_is_better or not all(name in comparison for comparison in self.values()):
                continue
            by_one = self.by(name)
            p_holm = self._own_p_values(name)
            p_values = by_one.p_values
            ratios = by_one.ratios()
            for at, comparison in by_one.items():
                result = comparison[name]
                if result.interval is None and result.p_value is None:
                    continue
                row: dict[str, Cell] = {"distance": name, "set": at}
                row |= zip(("without noise", "interval"), result._shown_at(p_holm[at]), strict=True)
                row |= {"p (Holm)": p_figure(p_holm[at]), "p (best nearer)": p_figure(p_values[at])}
                ratio = "1" if at == self.held_out else ratios.get(at)
                rows.append(row | {_X_HELD_OUT: None if ratio is None else str(ratio)})
        if not rows:
            return None
        return Table.of(rows, "Without noise, and tests", [_P, *self._notes_on_ratios()])

    def _notes_on_ratios(self) -> list[str]:
        """Return the line below a table of ratios that says what they are, if there are any."""
        all_ratios = [ratio for distance in self._distances for ratio in self.ratios(distance).values()]
        ratios = [ratio for ratio in all_ratios if ratio is not None]
        if not ratios and self.held_out is not None and self[self.held_out].shares_images:
            shares = f"{self.held_out} shares {self._noun}s with {self.reference}, or has some nearly alike"
            return [f"No {_X_HELD_OUT}: {shares}."]
        if not all_ratios:
            return []
        if not ratios:
            return [f"No {_X_HELD_OUT}: too few {self._noun}s to tell."]
        note = f"{_X_HELD_OUT}: times as far as {self.held_out}, without the noise of either"
        note += f" ({ratios[0].level} interval)."
        if any(ratio.high is None for ratio in ratios):
            note += f" At least: how far {self.held_out} is from {self.reference} can't be told from 0."
        if len(ratios) < len(all_ratios):
            note += f" -: too few {self._noun}s to tell."
        return [note]

    def _without_errors(self) -> list[str]:
        """Return why some values have no standard error, one line each."""
        # Dictionaries keep each line and each distance once, in order.
        lines: dict[str, None] = {}
        unknown: dict[str, None] = {}
        for name, comparison in self.items():
            if comparison.shares_images and not comparison.paired:
                lines[f"No ± of {name}, which shares {self._noun}s with {self.reference}."] = None
                continue
            for distance, result in comparison.items():
                if not result.value or result.standard_error or result.spread:
                    continue
                for limit in result.limits:
                    lines[f"No ±: {limit}."] = None
                if not result.limits:
                    unknown[distance] = None
        if unknown:
            return [*lines, f"No ± is known of {', '.join(unknown)}."]
        return [*lines]

    def plot(self) -> Any:
        """Plot the distances of the sets, see :func:`~torchmetrics_dna.plots.plot_curve`."""
        return plot_curve(self)

    def rows(self) -> list[dict[str, Any]]:
        """Return one record per set in plain types."""
        p_values = self.p_values
        p_holm = self.p_holm
        best = self.best
        rows: list[dict[str, Any]] = []
        for name, comparison in self.items():
            row = {"set": name, "num_images": comparison.num_images["b"], **self._record(comparison, p_holm[name])}
            rows.append(row | {"p_best_is_nearer": p_values[name], "best": name == best})
        if self.held_out is None:
            return rows
        for distance, record in self._distances.items():
            if record.higher_is_better:
                continue
            ratios = self.ratios(distance)
            property_ratios = self.property_ratios(distance)
            for row in rows:
                name = row["set"]
                row.update(_ratio_record(record.key, ratios.get(name), property_ratios.get(name)))
                result = self[name].get(distance)
                further = result and result.evidence and result.evidence.further
                row[f"{record.key}_p_further"] = further and further.p_value
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Return all results in plain types, ready for json."""
        return {
            "reference": self.reference,
            "held_out": self.held_out,
            "distance": self.distance,
            "best": self.best,
            "verdict": self.verdict,
            "sets": self.rows(),
            "comparisons": {name: comparison.to_dict() for name, comparison in self.items()},
        }

    def _shown(self, name: str) -> str:
        """Return the figure in words: without noise, unless the set shares images with the reference."""
        result = self[name][self.distance]
        if self[name].shares_images or result.debiased is None:
            return number(result.value, 3)
        shown, _ = result._shown_at(self._own_p_values(self.distance)[name])
        if shown == result.without_shift:
            return f"{number(result.value, 3)}, {shown}"
        return shown if isinstance(shown, str) else f"{number(shown, 3)}, debiased"

    def _order(self, name: str) -> float:
        """Return the sort key: the debiased distance before it is clipped at 0, so that clipped sets do not tie.

        It is too small for sets that share images with the reference, as copies do; of these, the plain distance.
        """
        if self[name].same_images or not self[name][self.distance].value:
            return -inf
        evidence = self[name][self.distance].evidence
        debiased = nan if evidence is None or self[name].shares_images else evidence.centre
        return self._figure(name) ** self._distances[self.distance].power if isnan(debiased) else debiased

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


def _header(record: Distance) -> str:
    """Return the header of a distance's column, with its direction or unit."""
    if record.higher_is_better:
        return f"{record.name} ↑"
    if record.unit == "bins":
        return f"{record.name} (bins)"
    return record.name


def _ratio_record(key: str, ratio: Ratio | None, of_properties: Ratio | None) -> dict[str, float | None]:
    """Return the ratios to the held-out set, by network and by properties, with the ends of their intervals."""
    figures: dict[str, float | None] = {}
    for end, field in (("", "value"), ("_low", "low"), ("_high", "high")):
        figures[f"{key}_x_held_out{end}"] = None if ratio is None else getattr(ratio, field)
        figures[f"{key}_properties_x_held_out{end}"] = None if of_properties is None else getattr(of_properties, field)
    return figures


def _cell(comparison: Comparison, result: Result | None, p_value: float | None) -> Cell:
    """Return the value with its error, None if it was not measured; a set that shares images has no standard error.

    A value that is not shown to be more than noise is marked.
    """
    if result is None:
        return None
    error = None
    if comparison.paired or not comparison.shares_images:
        error = result.standard_error or result.spread
    shown = number(result.value, 3, zeros=True, error=error)
    is_alike = p_value is not None and p_value > SIGNIFICANT
    return f"{shown} {_ALIKE}" if is_alike else shown


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
        raise ValueError(f"Argument `sets` expected to be different sets, but got {twice!r} twice")
    return dict(zip(short_names(public_names(paths)), sets, strict=True))


def check_held_out(held_out: str | None, sets: Collection[str]) -> None:
    """Raise ValueError unless ``held_out`` is None or the name of one of several sets."""
    if held_out is None:
        return
    if held_out not in sets:
        expected = f"one of {', '.join(sets)}" if sets else "one of several sets, which `b` gives by name"
        raise ValueError(f"Argument `held_out` expected to be {expected}, but got {held_out!r}")
    if len(sets) == 1:
        raise ValueError(f"There is no other set beside the held-out {held_out!r}; give one to compare with it")
