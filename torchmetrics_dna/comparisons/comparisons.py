"""Comparisons: what was found of several sets against one reference."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isnan, nan
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.evidence import paired_p_value
from torchmetrics_dna.files.visible import number, p_in_words
from torchmetrics_dna.functional.permutation import SIGNIFICANT, holm

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torchmetrics_dna.comparisons.comparison import Comparison


@dataclass(frozen=True, eq=False, repr=False)
class Comparisons(Mapping[str, "Comparison"]):
    """How far several sets are from one reference, and which of them is nearest: a mapping of comparisons by name.

    Attributes:
        reference: What the reference is called.
        results: The comparison of each set with it, by the set's name, in the order in which they were given.

    """

    reference: str
    results: Mapping[str, Comparison]

    def __getitem__(self, name: str) -> Comparison:
        return self.results[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    __eq__, __hash__ = object.__eq__, object.__hash__  # by identity: equal mappings would be compared by their tensors

    @property
    def distance(self) -> str:
        """Name of the distance that says which is nearest, which is dna-emd if it was found, else the first one."""
        first = next(iter(self.values()))
        return next(name for name, record in DISTANCES.items() if name in first and not record.higher_is_better)

    @property
    def best(self) -> str:
        """The nearest set, by the distance without noise if folds of images were kept; at exactly 0, none is nearer."""
        return min(self, key=self._order)

    @property
    def p_values(self) -> dict[str, float | None]:
        """For each set, whether the best is nearer than it by more than chance, by a paired test over folds of images.

        Corrected for the number of sets (Holm, 1979). None for the best itself, and without folds. The best was chosen
        by the same figures, which the test does not know of; where all sets are alike, it calls a best one sure in less
        than 5 % of draws (docs/experiments/which_is_best.md).

        The test takes sets for independent of the reference. So there is none for a set that shares images with it, and
        sets of the reference's own images are left out: then the best is that of the others.
        """
        if self._apart is not self:
            return dict.fromkeys(self) | (self._apart.p_values if self._apart else {})
        best = self.best
        return holm({name: None if name == best else self._paired(best, name) for name in self})

    @property
    def p_holm(self) -> dict[str, float | None]:
        """For each set, whether it differs from the reference, by its permutation test.

        Corrected for the number of sets (Holm, 1979): of sets that are all like the reference, any ends at or below
        0.05 in at most 5 % of calls. None without folds.
        """
        return holm({name: one[self.distance].p_value for name, one in self.items()})

    @property
    def positions(self) -> list[float] | None:
        """The last number of each set's name, such as a step or an epoch; None unless each has one of its own.

        Example:
            >>> Comparisons("real", dict.fromkeys(["run_2/step_1000", "run_2/step_2000"])).positions
            [1000.0, 2000.0]

        """
        found = [re.findall(r"\d+(?:\.\d+)?", name) for name in self]
        if not all(found):
            return None
        last = [float(numbers[-1]) for numbers in found]
        return last if len(set(last)) == len(last) else None

    @property
    def unreadable(self) -> list[str]:
        """One line for each image that was left out, of the reference and of all sets."""
        sides = [one.measured for one in self.values() if one.measured is not None]
        return [*(sides[0][0].unreadable if sides else ()), *(line for _, other in sides for line in other.unreadable)]

    @property
    def verdict(self) -> str:
        """Which set is best, and how sure that is, in a sentence; before it, one on sets of the reference's images."""
        if self._apart is not self:
            apart = self._apart
            same = [name for name in self if name not in apart]
            told = f"{', '.join(same)}: the same images as {self.reference}, {self.distance} 0."
            if len(apart) == 1:
                return f"{told} The only other set is {apart.best}, {self.distance} {number(apart._shown(apart.best))}."
            return f"{told} Of the others, {apart.verdict}" if apart else told
        best, others = self.best, [name for name in self if name != self.best]
        figure = f"{self.distance} {number(self._shown(best))}"
        if not others:
            return f"{best} is the only set, {figure}."
        second, p_values = min(others, key=self._order), self.p_values
        p = p_values[second]
        if sharing := [name for name in (best, second) if self[name].shares_images]:
            return (
                f"{best} is nearest to {self.reference} ({figure}), but how surely can't be said: {sharing[0]} shares"
                f" images with {self.reference}, or has copies of them."
            )
        if p is None:
            return f"{best} is nearest to {self.reference} ({figure}); without folds of images nobody knows how surely."
        if p <= SIGNIFICANT:
            return f"{best} is nearest to {self.reference} ({figure}), nearer than {second} ({p_in_words(p)})."
        alike = [name for name in others if (p_values[name] or 0) > SIGNIFICANT]
        return (
            f"{best} is nearest to {self.reference} ({figure}), but not surely nearer than {_listed(alike, second, p)}."
        )

    def rows(self) -> list[dict[str, Any]]:
        """What is known of each set, in plain types."""
        name, p_values, p_holm = self.distance, self.p_values, self.p_holm
        key, rows = DISTANCES[name].key, []
        for label, one in self.items():
            result = one[name]
            interval = result.interval
            rows.append(
                {
                    "set": label,
                    "num_images": one.num_images["b"],
                    **{other.distance.key: other.value for other in one.values()},
                    f"{key}_debiased": result.debiased,
                    "low": interval and interval.low,
                    "high": interval and interval.high,
                    "p_value": result.p_value,
                    "p_holm": p_holm[label],
                    "p_best_is_nearer": p_values[label],
                    "best": label == self.best,
                }
            )
        return rows

    def to_dict(self) -> dict[str, Any]:
        """All that was found, in plain types, ready for json."""
        return {
            "reference": self.reference,
            "distance": self.distance,
            "best": self.best,
            "verdict": self.verdict,
            "sets": self.rows(),
            "comparisons": {name: one.to_dict() for name, one in self.items()},
        }

    def _figure(self, name: str) -> float:
        """The distance, without noise where that is known."""
        result = self[name][self.distance]
        return result.value if result.debiased is None else result.debiased

    def _shown(self, name: str) -> float | str | None:
        """Likewise, for people; of a set that shares images with the reference, noise included."""
        result = self[name][self.distance]
        plain = self[name].shares_images or result.debiased is None
        return result.value if plain else result.overall.debiased_shown

    @property
    def _apart(self) -> Comparisons:
        """The same without the sets whose images are the reference's own; itself if there are none."""
        others = {name: one for name, one in self.items() if not one.same_images}
        return self if len(others) == len(self) else Comparisons(self.reference, others)

    def _order(self, name: str) -> float:
        """Likewise, in an order in which no two are equal because noise has eaten both up."""
        if self[name].same_images or not self[name][self.distance].value:
            return -inf
        evidence = self[name][self.distance].evidence
        left = nan if evidence is None else evidence.jackknife.left
        return self._figure(name) ** DISTANCES[self.distance].power if isnan(left) else left

    def _paired(self, best: str, name: str) -> float | None:
        if self[best].shares_images or self[name].shares_images:
            return None
        one, other = (self[each][self.distance].evidence for each in (best, name))
        return None if one is None or other is None else paired_p_value(one, other)

    def __repr__(self) -> str:
        return f"Comparisons({len(self)} sets with {self.reference}, best {self.best})"


def _listed(alike: Sequence[str], second: str, p: float) -> str:
    """The second best, with its p-value, and how many more are not surely further."""
    more = len(alike) - 1
    others = f" and {more} other{'s' if more > 1 else ''}" if more else ""
    return f"{second}{others} ({p_in_words(p)})"


def called(given: Any, otherwise: str) -> str:
    """What to call a set: its path as it was given, or else that."""
    return os.fspath(given) if isinstance(given, (str, os.PathLike)) else otherwise


def short_names(labels: Sequence[str]) -> list[str]:
    """What to call sets: their paths without the folders that all of them are in.

    Example:
        >>> short_names(["runs/a/step_1/", "runs/a/step_2"])
        ['step_1', 'step_2']

    """
    paths = [PurePath(label).parts for label in labels]
    depth = 0
    while paths and all(len(parts) > depth + 1 and parts[depth] == paths[0][depth] for parts in paths):
        depth += 1
    short = ["/".join(parts[depth:]) for parts in paths]
    return short if depth and len(set(short)) == len(labels) > 1 else list(labels)


def by_name(sets: Sequence[Any]) -> dict[str, Any]:
    """Sets by what they are called: their paths, short; ValueError if two are called alike."""
    labels = [called(side, f"set {i}") for i, side in enumerate(sets, 1)]
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise ValueError(f"Argument `sets` expected to be different sets, but got {twice!r} twice; leave one out")
    return dict(zip(short_names(labels), sets, strict=True))
