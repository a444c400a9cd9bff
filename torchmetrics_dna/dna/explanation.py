"""What differs between two DNAs, in words: properties of images, and named changes that explain the shift."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from torchmetrics_dna.dna.gaussian import GaussianDNA
from torchmetrics_dna.dna.histogram import HistogramDNA
from torchmetrics_dna.dna.layer_gaussian import LayerGaussianDNA
from torchmetrics_dna.images.properties import LAYER, PROPERTIES, property_in_words

if TYPE_CHECKING:
    from torchmetrics_dna.dna.base import DNA
    from torchmetrics_dna.dna.changes import ChangeDictionary, NamedChange
    from torchmetrics_dna.functional.permutation import PermutationTest

_MOST = 4  # properties that are named
_SIGNIFICANT = 0.05
_CLEAR = 0.5  # standard deviations between means that are named where there is no test
_SHIFTED = 0.2  # standard deviations between means, from which on a property is called higher or lower


class PropertyDifference(NamedTuple):
    """A property of images that differs between A and B.

    Attributes:
        name: Of the property.
        a: Its mean in A, from 0 to 1 as :func:`image_properties` gives it.
        b: Its mean in B.
        spread_a: Its standard deviation over the images of A.
        spread_b: Of B.
        q: Share of false discoveries among neurons of as much evidence, or None without a test.

    """

    name: str
    a: float
    b: float
    spread_a: float
    spread_b: float
    q: float | None

    @property
    def effect(self) -> float:
        """Difference of the means in standard deviations."""
        spread = math.sqrt((self.spread_a**2 + self.spread_b**2) / 2)
        return (self.b - self.a) / max(spread, 1e-6)


@dataclass(frozen=True)
class Explanation:
    """What differs between two sets A and B.

    Attributes:
        differs: Whether a test finds a difference; None without a test.
        properties: Those that differ most clearly come first; none where properties were not watched.
        changes: What would turn A into something like B, the largest change first; none where they explain too little,
            and None where there is no dictionary of changes for the extractor.
        unexplained: The share of the shift of all neurons that these changes leave.

    """

    differs: bool | None
    properties: list[PropertyDifference]
    changes: list[NamedChange] | None
    unexplained: float | None

    def sentences(self, a: str = "A", b: str = "B") -> list[str]:
        """The same in words, one sentence for each kind of finding; none where nothing can be said."""
        if self.differs is False:
            return [f"No difference between {a} and {b} can be shown."]
        told = []
        if self.properties:
            told.append(f"{b} against {a}: " + "; ".join(map(_property_in_words, self.properties)) + ".")
        if self.changes:
            told.append(
                f"To the network, {b} looks like {a} after {_changes_in_words(self.changes)};"
                f" {self.unexplained:.0%} of the shift of its neurons is unexplained."
            )
        return told


def explain(
    a: DNA,
    b: DNA,
    test: PermutationTest | None = None,
    changes: ChangeDictionary | None = None,
    level: float = _SIGNIFICANT,
) -> Explanation:
    """Say what differs between two DNAs of the same extractor.

    Args:
        a: A DNA of any kind.
        b: Another one.
        test: Of a distance of neurons between them; where it finds no difference, nothing is said.
        changes: What named changes do to the neurons.
        level: At which p and q count as a finding.

    """
    differs = None if test is None else test.p_value <= level
    if differs is False:
        return Explanation(differs, [], None if changes is None else [], None)
    one, other = _as_gaussian(a), _as_gaussian(b)
    properties = _differences(one, other, test, level)
    network = [layer for layer in one.neurons if layer != LAYER]
    if changes is None or not network:
        return Explanation(differs, properties, None, None)
    places = one.neurons.positions(network)
    shift = (other.mean - one.mean).cpu()[places]
    found, unexplained = changes.explain(shift, one.neurons.take(places))
    return Explanation(differs, properties, found, unexplained)


def _as_gaussian(dna: DNA) -> GaussianDNA:
    if isinstance(dna, (HistogramDNA, LayerGaussianDNA)):
        return dna.to_gaussian()
    assert isinstance(dna, GaussianDNA)
    return dna


def _differences(
    a: GaussianDNA, b: GaussianDNA, test: PermutationTest | None, level: float
) -> list[PropertyDifference]:
    """Properties that differ, the clearest first."""
    if LAYER not in a.neurons:
        return []
    found = []
    where = a.neurons.slices[LAYER]
    for number, place in zip(a.neurons.numbers(LAYER), range(where.start, where.stop), strict=True):
        means, spreads = (
            [float(values[place]) for values in pair] for pair in ((a.mean, b.mean), (a.var.sqrt(), b.var.sqrt()))
        )
        q = None if test is None else float(test.q[place])
        one = PropertyDifference(PROPERTIES[number], means[0], means[1], spreads[0], spreads[1], q)
        clear = float(test.z[place]) if test is not None else abs(one.effect)
        if (q is None and clear >= _CLEAR) or (q is not None and q <= level):
            found.append((clear, one))
    return [one for _, one in sorted(found, key=lambda pair: -pair[0])[:_MOST]]


def _property_in_words(found: PropertyDifference) -> str:
    if abs(found.effect) >= _SHIFTED:
        values = (property_in_words(found.name, value) for value in (found.a, found.b))
        return f"{found.name} {'higher' if found.b > found.a else 'lower'} ({' to '.join(values)})"
    return f"{found.name} {'varies more' if found.spread_b > found.spread_a else 'varies less'}"


def _changes_in_words(changes: list[NamedChange]) -> str:
    """Such as "mostly blur (strength 2.1 of 5) and some noise (0.4)"."""
    first, *others = changes
    told = f"{first.name} (strength {first.strength:.1f} of 5)"
    if not others:
        return told
    return f"mostly {told}, and some {' and '.join(f'{one.name} ({one.strength:.1f})' for one in others)}"
