"""What differs between two DNAs, in words: properties of images, and named changes that explain the shift."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from torchmetrics_dna.dna.gaussian import GaussianDNA
from torchmetrics_dna.dna.histogram import HistogramDNA
from torchmetrics_dna.dna.layer_gaussian import LayerGaussianDNA
from torchmetrics_dna.files.visible import p_in_words
from torchmetrics_dna.functional.permutation import SIGNIFICANT
from torchmetrics_dna.images.properties import LAYER, PROPERTIES, property_in_words

if TYPE_CHECKING:
    from torchmetrics_dna.dna.base import DNA
    from torchmetrics_dna.dna.changes import ChangeDictionary, NamedChange
    from torchmetrics_dna.functional.permutation import PermutationTest

_MOST = 6  # properties that are named
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
    """What differs between two sets A and B; as a text, ``str()`` of it.

    Attributes:
        p_value: Of the test of whether they differ at all; None without one.
        properties: Properties of images that differ, the clearest first; none where they were not watched.
        changes: What would turn A into something like B, the largest change first; none where they explain too little,
            and None where there is no dictionary of changes for the extractor, or nothing to explain.
        unexplained: The share of the shift of all neurons that is left by these changes, or by the best ones there are.
        names: What A and B are called.

    """

    p_value: float | None
    properties: list[PropertyDifference]
    changes: list[NamedChange] | None
    unexplained: float | None
    names: tuple[str, str] = ("A", "B")

    @property
    def differs(self) -> bool | None:
        """Whether the test finds a difference; None without a test."""
        return None if self.p_value is None else self.p_value <= SIGNIFICANT

    @property
    def sentences(self) -> list[str]:
        """One for each kind of finding; none where no difference is found."""
        (a, b), told = self.names, []
        if self.properties:
            told.append(f"Images of {b} against those of {a}: {'; '.join(map(_property_in_words, self.properties))}.")
        if self.changes:
            network = "Untested: to the network" if self.p_value is None else "To the network"
            told.append(
                f"{network}, {b} looks like {a} after {_changes_in_words(self.changes)};"
                f" {self.unexplained:.0%} of the shift of its neurons is unexplained."
            )
        elif self.unexplained is not None:
            told.append(
                "No named change of images, such as blur, explains the shift of the neurons:"
                f" {self.unexplained:.0%} of it is unexplained."
            )
        return told

    def __str__(self) -> str:
        (a, b), told = self.names, self.sentences
        if self.p_value is not None:
            differs = f"{b} differs from {a}" if self.differs else f"No difference between {a} and {b} can be shown"
            told = [f"{differs} ({p_in_words(self.p_value)}).", *told]
        return " ".join(told) or f"No words are known for what differs between {a} and {b}."


def explain(
    a: DNA,
    b: DNA,
    test: PermutationTest | None = None,
    changes: ChangeDictionary | None = None,
    names: tuple[str, str] = ("A", "B"),
) -> Explanation:
    """Say what differs between two DNAs of the same extractor.

    Args:
        a: A DNA of any kind.
        b: Another one.
        test: Of a distance of neurons between them; where it finds no difference, nothing is said.
        changes: What named changes do to the neurons.
        names: What to call A and B.

    """
    p_value = None if test is None else test.p_value
    if not (has_means(a) and has_means(b)):
        return Explanation(p_value, [], None, None, names)
    if p_value is not None and p_value > SIGNIFICANT:
        return Explanation(p_value, [], None if changes is None else [], None, names)
    properties = property_differences(a, b, test)
    one, other = (as_gaussian(dna.to("cpu")) for dna in (a, b))
    shift = other.mean - one.mean
    found = None if changes is None or not shift.any() else changes.explain(shift, one.neurons)
    named, unexplained = (None, None) if found is None else found
    return Explanation(p_value, properties, named, unexplained, names)


def has_means(dna: DNA) -> bool:
    """True if the means of neurons can be had: not from histograms of unknown ranges."""
    return not (isinstance(dna, HistogramDNA) and dna.ranges is None)


def as_gaussian(dna: DNA) -> GaussianDNA:
    """Mean and variance of each neuron: of all activations where there are histograms, else of spatial means."""
    if isinstance(dna, GaussianDNA):
        return dna
    assert isinstance(dna, (HistogramDNA, LayerGaussianDNA))
    return dna.to_gaussian()


def property_differences(a: DNA, b: DNA, test: PermutationTest | None) -> list[PropertyDifference]:
    """Properties of images that differ, the clearest first; by a test of all neurons, or else by their size."""
    if LAYER not in a.neurons:
        return []
    where = a.neurons.slices[LAYER]
    one, other = (as_gaussian(dna.select([LAYER]).to("cpu")) for dna in (a, b))
    found = []
    for i, number in enumerate(one.neurons.numbers(LAYER)):
        difference = PropertyDifference(
            PROPERTIES[number],
            float(one.mean[i]),
            float(other.mean[i]),
            math.sqrt(one.var[i]),
            math.sqrt(other.var[i]),
            None if test is None else float(test.q[where][i]),
        )
        clear = abs(difference.effect) if test is None else float(test.z[where][i])
        if clear >= _CLEAR if difference.q is None else difference.q <= SIGNIFICANT:
            found.append((clear, difference))
    return [one for _, one in sorted(found, key=lambda pair: -pair[0])[:_MOST]]


def _property_in_words(found: PropertyDifference) -> str:
    if abs(found.effect) >= _SHIFTED:
        values = (property_in_words(found.name, value) for value in (found.a, found.b))
        return f"{_compared(found.name, found.b > found.a)} ({' to '.join(values)})"
    return f"{found.name} {'varies more' if found.spread_b > found.spread_a else 'varies less'}"


def _compared(name: str, more: bool) -> str:
    """Such as "sharpness lower", "larger width" and "fewer dark pixels"."""
    if name in ("width", "height"):
        return f"{'larger' if more else 'smaller'} {name}"
    return (
        f"{'more' if more else 'fewer'} {name}"
        if name.endswith("s") and not name.endswith("ss")
        else (f"{name} {'higher' if more else 'lower'}")
    )


def _changes_in_words(changes: list[NamedChange]) -> str:
    """Such as "blur (strength 2.1 of 5) and some noise (0.4)"."""
    first, *others = changes
    told = f"{first.name} (strength {first.strength:.1f} of 5)"
    return " and some ".join([told, *(f"{one.name} ({one.strength:.1f})" for one in others)])
