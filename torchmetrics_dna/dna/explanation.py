"""Words for DNAs: names of neurons, and how two sets differ, by properties of images and by what caused it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from torchmetrics_dna.dna.gaussian import GaussianDNA, LayerGaussianDNA
from torchmetrics_dna.dna.histogram import HistogramDNA
from torchmetrics_dna.files.visible import bins_in_words, number, p_figure
from torchmetrics_dna.functional.permutation import SIGNIFICANT
from torchmetrics_dna.images.changes import CHANGES
from torchmetrics_dna.images.properties import LAYER, PROPERTIES, property_in_words

if TYPE_CHECKING:
    from torchmetrics_dna.dna.base import DNA
    from torchmetrics_dna.functional.permutation import PermutationTest

_MAX_PROPERTIES = 6  # that are named
_MIN_EFFECT = 0.5  # standard deviations between means, for a property to be named without a test
#: Property of images that a change moves most plainly, and its direction.
_MOVES = {
    "brighter": ("brightness", 1),
    "darker": ("brightness", -1),
    "more contrast": ("contrast", 1),
    "less contrast": ("contrast", -1),
    "more saturation": ("saturation", 1),
    "less saturation": ("saturation", -1),
    "warmer": ("blue against yellow", -1),
    "cooler": ("blue against yellow", 1),
    "blur": ("sharpness", -1),
    "resize": ("width", -1),
    "noise": ("noise", 1),
    "grey noise": ("noise", 1),
    "JPEG compression": ("blockiness", 1),
}
_LEAST_UNTESTED = 10  # images on a side, for words without a test
_UNNAMED = "; what causes it could not be named"
_FILES = " files"  # the end of the names of shares of formats
_MIN_SHIFT = 0.2  # standard deviations between means, for a property to be called higher or lower


def name_of(layer: str, number: int) -> str:
    """Return the number of a neuron within a layer as text, or the name of a property.

    Example:
        >>> name_of("head", 7), name_of("properties", 3)
        ('7', 'brightness')

    """
    return PROPERTIES[number] if layer == LAYER and number < len(PROPERTIES) else str(number)


def in_words(layer: str, number: int) -> str:
    """Return the name of a neuron with its layer.

    Example:
        >>> in_words("head", 7), in_words("properties", 3)
        ('head neuron 7', 'brightness (properties)')

    """
    name = name_of(layer, number)
    return f"{layer} neuron {number}" if name == str(number) else f"{name} ({layer})"


@dataclass(frozen=True)
class Causes:
    """Changes that were made to images of A, and how near to B they came; without names if none took half.

    Attributes:
        names: Names of one change, or of two in the order in which they were made; empty for none.
        amounts: Their amounts, see ``torchmetrics_dna.images.changes.CHANGES``.
        bins: dna-emd without noise between images of A and of B that did not choose them: without a change, with the
            one that takes more, and with both.
        num_images: Number of these images of A.

    """

    names: tuple[str, ...]
    amounts: tuple[float, ...]
    bins: tuple[float, ...]
    num_images: int

    @property
    def in_words(self) -> str:
        """The changes, as in "a blur of about 1.1 px and noise of about 4 grey levels"."""
        pairs = zip(self.names, self.amounts, strict=True)
        return " and ".join(CHANGES[name].in_words(amount) for name, amount in pairs)

    def sentence(self, a: str, b: str) -> str:
        """Return a clause: how near A comes to B after the changes."""
        before, after = self.bins[0], self.bins[-1]
        changed = f"{a} after {self.in_words}"
        if not after:
            return f"{changed} cannot be told from {b}; unchanged, it is {bins_in_words(before)} away"
        return f"{changed} is {bins_in_words(after)} from {b} instead of {number(before, 3)}"


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
        causes: Changes of A's images that take half of the squared distance; None if there are none, if a property
            contradicts them, or if they were not searched.
        names: Names of A and B.
        is_searched: True if causes were searched.

    """

    p_value: float | None
    properties: list[PropertyDifference]
    causes: Causes | None = None
    names: tuple[str, str] = ("A", "B")
    is_searched: bool = False

    @property
    def differs(self) -> bool | None:
        """True if the test finds a difference; None without a test."""
        return None if self.p_value is None else self.p_value <= SIGNIFICANT

    @property
    def headline(self) -> str:
        """Clause: do the sets differ, and what change of A comes near to B? Empty if no test was made."""
        a, b = self.names
        if self.differs is None:
            return ""
        if not self.differs:
            return f"No difference between {a} and {b} can be shown"
        if self.causes is not None:
            return f"{b} differs from {a}: {self.causes.sentence(a, b)}"
        return f"{b} differs from {a}{_UNNAMED * self.is_searched}"

    @property
    def sentences(self) -> list[str]:
        """One sentence for each kind of finding; empty if no difference is found."""
        caused = [] if self.causes is None else [f"{self.causes.sentence(*self.names)}."]
        return [*caused, *self.property_sentences]

    @property
    def property_sentences(self) -> list[str]:
        """Sentence on the properties of images that differ, or nothing."""
        if not self.properties:
            return []
        a, b = self.names
        files = [difference.effect for difference in self.properties if difference.name.endswith(_FILES)]
        phrases = [  # fewer files of one format are more of another
            _property_in_words(difference)
            for difference in self.properties
            if not (difference.name.endswith(_FILES) and difference.effect < 0 < max(files))
        ]
        return [f"Measured in {b} against {a}: {'; '.join(phrases)}."]

    def __str__(self) -> str:
        (a, b), sentences = self.names, self.property_sentences
        if headline := self.headline:
            p_value = "" if self.p_value is None else f" ({p_figure(self.p_value, 'p')})"
            sentences = [f"{headline}{p_value}.", *sentences]
        return " ".join(sentences) or f"No words are known for what differs between {a} and {b}."


def explain(
    a: DNA,
    b: DNA,
    test: PermutationTest | None = None,
    names: tuple[str, str] = ("A", "B"),
    properties: list[PropertyDifference] | None = None,
    causes: Causes | None = None,
) -> Explanation:
    """Explain how two DNAs of the same extractor differ.

    Nothing is named where the test finds no difference or, without a test, for fewer than 10 images on a side.

    Args:
        a: DNA of A, of any kind.
        b: DNA of B.
        test: Test of a per-neuron distance between them.
        names: Names of A and B.
        properties: Properties of images that differ, if they were not measured as neurons of these DNAs.
        causes: Changes of A's images that were searched.

    """
    p_value = None if test is None else test.p_value
    if not (has_means(a) and has_means(b)):
        return Explanation(p_value, [], names=names)
    if p_value is not None and p_value > SIGNIFICANT:
        return Explanation(p_value, properties or [], names=names)
    if p_value is None and any(not dna.has_unknown_size and dna.num_images < _LEAST_UNTESTED for dna in (a, b)):
        return Explanation(p_value, [], names=names)
    if properties is None:
        properties = property_differences(a, b, test)
    is_searched = causes is not None
    if causes is not None and (not causes.names or any(_is_contradicted(name, properties) for name in causes.names)):
        causes = None
    return Explanation(p_value, properties, causes, names, is_searched)


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
    for i, column in enumerate(gaussian_a.neurons.numbers(LAYER)):
        difference = PropertyDifference(
            PROPERTIES[column],
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
    name, more = difference.name, difference.b > difference.a
    is_plural = name.endswith("s") and not name.endswith("ss")
    if abs(difference.effect) < _MIN_SHIFT:
        verb = "vary" if is_plural else "varies"
        return f"{name} {verb} {'more' if difference.spread_b > difference.spread_a else 'less'}"
    if name in ("width", "height"):
        compared = f"{'larger' if more else 'smaller'} {name}"
    elif is_plural:
        compared = f"{'more' if more else 'fewer'} {name}"
    else:
        compared = f"{name} {'higher' if more else 'lower'}"
    values = (property_in_words(name, value) for value in (difference.a, difference.b))
    return f"{compared} ({' to '.join(values)})"


def _is_contradicted(change: str, properties: list[PropertyDifference]) -> bool:
    """True if a property of the images differs in the other direction than the change would move it."""
    name, direction = _MOVES.get(change, ("", 0))
    return any(
        difference.name == name and difference.effect * direction < 0 and abs(difference.effect) >= _MIN_SHIFT
        for difference in properties
    )
