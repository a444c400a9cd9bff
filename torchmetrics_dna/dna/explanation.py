"""Explain in words how two DNAs differ: by properties of images, and by named changes that explain the shift."""

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

_MAX_PROPERTIES = 6  # that are named
_MIN_EFFECT = 0.5  # standard deviations between means, for a property to be named without a test
_MIN_SHIFT = 0.2  # standard deviations between means, for a property to be called higher or lower


class PropertyDifference(NamedTuple):
    """Property of images that differs between A and B.

    Attributes:
        name: Name of the property.
        a: Mean in A, from 0 to 1, in the scale of :func:`image_properties`.
        b: Mean in B.
        spread_a: Standard deviation over the images of A.
        spread_b: Standard deviation over the images of B.
        q: False discovery rate among neurons with at least as much evidence; None without a test.

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
    """Differences between two sets A and B; ``str()`` gives them as a text.

    Attributes:
        p_value: P-value of the test for any difference; None without one.
        properties: Properties of images that differ, the clearest first; empty if they were not measured.
        changes: Changes that would turn A into something like B, the largest first; empty if they explain too little,
            None without a dictionary of changes for the extractor, or without a shift to explain.
        unexplained: Share of the shift of all neurons that these changes, or else the best available, do not explain.
        names: Names of A and B.

    """

    p_value: float | None
    properties: list[PropertyDifference]
    changes: list[NamedChange] | None
    unexplained: float | None
    names: tuple[str, str] = ("A", "B")

    @property
    def differs(self) -> bool | None:
        """True if the test finds a difference; None without a test."""
        return None if self.p_value is None else self.p_value <= SIGNIFICANT

    @property
    def sentences(self) -> list[str]:
        """One sentence for each kind of finding; empty if no difference is found."""
        (a, b), sentences = self.names, []
        if self.properties:
            sentences.append(
                f"Images of {b} against those of {a}: {'; '.join(map(_property_in_words, self.properties))}."
            )
        if self.changes:
            network = "Untested: to the network" if self.p_value is None else "To the network"
            sentences.append(
                f"{network}, {b} looks like {a} after {_changes_in_words(self.changes)};"
                f" {self.unexplained:.0%} of the shift of its neurons is unexplained."
            )
        elif self.unexplained is not None:
            sentences.append(
                "No named change of images, such as blur, explains the shift of the neurons:"
                f" {self.unexplained:.0%} of it is unexplained."
            )
        return sentences

    def __str__(self) -> str:
        (a, b), sentences = self.names, self.sentences
        if self.p_value is not None:
            differs = f"{b} differs from {a}" if self.differs else f"No difference between {a} and {b} can be shown"
            sentences = [f"{differs} ({p_in_words(self.p_value)}).", *sentences]
        return " ".join(sentences) or f"No words are known for what differs between {a} and {b}."


def explain(
    a: DNA,
    b: DNA,
    test: PermutationTest | None = None,
    changes: ChangeDictionary | None = None,
    names: tuple[str, str] = ("A", "B"),
) -> Explanation:
    """Explain how two DNAs of the same extractor differ.

    Args:
        a: DNA of A, of any kind.
        b: DNA of B.
        test: Test of a per-neuron distance between them; if it finds no difference, none is explained.
        changes: Dictionary of the shifts of neurons under named changes.
        names: Names of A and B.

    """
    p_value = None if test is None else test.p_value
    if not (has_means(a) and has_means(b)):
        return Explanation(p_value, [], None, None, names)
    if p_value is not None and p_value > SIGNIFICANT:
        return Explanation(p_value, [], None if changes is None else [], None, names)
    properties = property_differences(a, b, test)
    gaussian_a, gaussian_b = (as_gaussian(dna.to("cpu")) for dna in (a, b))
    shift = gaussian_b.mean - gaussian_a.mean
    explained = None if changes is None or not shift.any() else changes.explain(shift, gaussian_a.neurons)
    named, unexplained = (None, None) if explained is None else explained
    return Explanation(p_value, properties, named, unexplained, names)


def has_means(dna: DNA) -> bool:
    """True if the means of neurons are known, which they are not for histograms of unknown ranges."""
    return not (isinstance(dna, HistogramDNA) and dna.ranges is None)


def as_gaussian(dna: DNA) -> GaussianDNA:
    """Return the mean and variance of each neuron: of all activations for histograms, else of spatial means."""
    if isinstance(dna, GaussianDNA):
        return dna
    assert isinstance(dna, (HistogramDNA, LayerGaussianDNA))
    return dna.to_gaussian()


def property_differences(a: DNA, b: DNA, test: PermutationTest | None) -> list[PropertyDifference]:
    """Return the properties of images that differ, the clearest first, by a test or else by effect size."""
    if LAYER not in a.neurons:
        return []
    columns = a.neurons.slices[LAYER]
    gaussian_a, gaussian_b = (as_gaussian(dna.select([LAYER]).to("cpu")) for dna in (a, b))
    differences = []
    for i, number in enumerate(gaussian_a.neurons.numbers(LAYER)):
        difference = PropertyDifference(
            PROPERTIES[number],
            float(gaussian_a.mean[i]),
            float(gaussian_b.mean[i]),
            math.sqrt(gaussian_a.var[i]),
            math.sqrt(gaussian_b.var[i]),
            None if test is None else float(test.q[columns][i]),
        )
        clear = abs(difference.effect) if test is None else float(test.z[columns][i])
        if clear >= _MIN_EFFECT if difference.q is None else difference.q <= SIGNIFICANT:
            differences.append((clear, difference))
    return [difference for _, difference in sorted(differences, key=lambda pair: -pair[0])[:_MAX_PROPERTIES]]


def _property_in_words(difference: PropertyDifference) -> str:
    if abs(difference.effect) >= _MIN_SHIFT:
        values = (property_in_words(difference.name, value) for value in (difference.a, difference.b))
        return f"{_compared(difference.name, difference.b > difference.a)} ({' to '.join(values)})"
    return f"{difference.name} {'varies more' if difference.spread_b > difference.spread_a else 'varies less'}"


def _compared(name: str, more: bool) -> str:
    """Compare a property, as in "sharpness lower", "larger width" or "fewer dark pixels"."""
    if name in ("width", "height"):
        return f"{'larger' if more else 'smaller'} {name}"
    return (
        f"{'more' if more else 'fewer'} {name}"
        if name.endswith("s") and not name.endswith("ss")
        else (f"{name} {'higher' if more else 'lower'}")
    )


def _changes_in_words(changes: list[NamedChange]) -> str:
    """List changes, as in "blur (strength 2.1 of 5) and some noise (0.4)"."""
    first, *others = changes
    strongest = f"{first.name} (strength {first.strength:.1f} of 5)"
    return " and some ".join([strongest, *(f"{change.name} ({change.strength:.1f})" for change in others)])
