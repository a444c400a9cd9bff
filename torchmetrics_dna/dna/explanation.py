"""Words for DNAs: names of neurons, known distances beside a distance, and how two DNAs differ.

They differ by properties of images, and by named changes that explain the shift.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from torchmetrics_dna.dna.changes import LEAST_EXPLAINED
from torchmetrics_dna.dna.gaussian import GaussianDNA, LayerGaussianDNA
from torchmetrics_dna.dna.histogram import HistogramDNA
from torchmetrics_dna.extractors.presets import PRESETS
from torchmetrics_dna.files.damage import read_json
from torchmetrics_dna.files.visible import p_figure
from torchmetrics_dna.functional.permutation import SIGNIFICANT
from torchmetrics_dna.images.changes import CHANGES
from torchmetrics_dna.images.properties import LAYER, PROPERTIES, property_in_words

if TYPE_CHECKING:
    from pathlib import Path

    from torchmetrics_dna.dna.base import DNA
    from torchmetrics_dna.dna.changes import ChangeDictionary, NamedChange
    from torchmetrics_dna.functional.permutation import PermutationTest

_MAX_PROPERTIES = 6  # that are named
_MIN_EFFECT = 0.5  # standard deviations between means, for a property to be named without a test
#: Property of images that a named change moves most plainly, and its direction.
_MOVES = {
    "noise": ("noise", 1),
    "salt-and-pepper noise": ("noise", 1),
    "speckle noise": ("noise", 1),
    "blur": ("sharpness", -1),
    "motion blur": ("sharpness", -1),
    "JPEG compression": ("blockiness", 1),
    "pixelation": ("pixelation", 1),
    "brighter": ("brightness", 1),
    "darker": ("brightness", -1),
    "more contrast": ("contrast", 1),
    "less contrast": ("contrast", -1),
    "more saturation": ("saturation", 1),
    "less saturation": ("saturation", -1),
    "warmer": ("blue against yellow", -1),
    "cooler": ("blue against yellow", 1),
    "fog": ("contrast", -1),
    "vignette": ("dark corners", 1),
    "sharpening": ("sharpness", 1),
    "fewer colours": ("colours", -1),
    "occlusion": ("dark pixels", 1),
}
_LEAST_UNTESTED = 10  # images on a side, for words without a test
_UNNAMED = "; what causes it could not be named"
_FILES = " files"  # the end of the names of shares of formats
_MIN_SHIFT = 0.2  # standard deviations between means, for a property to be called higher or lower
_BESIDE = "image preparations (properties)"


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


class ScaleMark(NamedTuple):
    """Distance that a known change makes, in bins, corrected for sampling noise: mean and range over draws."""

    name: str
    mean: float
    least: float
    most: float


class Scale(NamedTuple):
    """Distances of known changes, measured with one extractor, its layers, bins and ranges."""

    marks: tuple[ScaleMark, ...]  # ascending
    images: str  # on each side of a draw, in words
    num_draws: int


def scale_for(dna: HistogramDNA) -> Scale | None:
    """Return the packaged scale of distances from this DNA; None unless it was measured in exactly this way."""
    preset = PRESETS.get(dna.extractor)
    record = None if preset is None or preset.scale is None else _read_scale(preset.scale)
    if record is None or record["measured_with"] != measured_with(dna):
        return None
    return Scale(tuple(ScaleMark(**mark) for mark in record["marks"]), record["images"], record["draws"])


def measured_with(dna: HistogramDNA) -> dict[str, Any]:
    """Return all that a distance in bins depends on beside the images, in json's types."""
    # properties measured beside the network are not among the neurons
    return {key: value for key, value in dna._identity().items() if key != _BESIDE}


@lru_cache(maxsize=2)
def _read_scale(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = read_json(path, dict)
    return record


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
        changes: Changes that would turn A into something like B, the largest first; empty if they explain too little or
            a property contradicts them, None without a dictionary of changes for the extractor, or without a shift.
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
    def headline(self) -> str:
        """Clause: do the sets differ, and what does B look like? Empty if no test was made and no change is named."""
        a, b = self.names
        if self.differs is False:
            return f"No difference between {a} and {b} can be shown"
        if self.differs is None:
            return f"{b} looks like {self._changed}; whether they differ was not tested" if self.changes else ""
        if self.changes:
            return f"{b} differs from {a}: it looks like {self._changed}"
        is_unnamed = self.unexplained is not None and 1 - self.unexplained < LEAST_EXPLAINED
        return f"{b} differs from {a}{_UNNAMED * is_unnamed}"

    @property
    def sentences(self) -> list[str]:
        """One sentence for each kind of finding; empty if no difference is found."""
        looks = [f"{self.names[1]} looks like {self._changed}."] if self.changes else []
        return [*looks, *self.property_sentences]

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
        return [f"Images of {b} against those of {a}: {'; '.join(phrases)}."]

    @property
    def _changed(self) -> str:
        """A after the changes, and the share of the difference that they account for."""
        assert self.changes
        assert self.unexplained is not None
        share = f"{100 - 100 * self.unexplained:.0f} %"
        return f"{self.names[0]} after {_changes_in_words(self.changes)}, which accounts for {share} of the difference"

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
    changes: ChangeDictionary | None = None,
    names: tuple[str, str] = ("A", "B"),
    properties: list[PropertyDifference] | None = None,
) -> Explanation:
    """Explain how two DNAs of the same extractor differ.

    Nothing is named where the test finds no difference or, without a test, for fewer than 10 images on a side.

    Args:
        a: DNA of A, of any kind.
        b: DNA of B.
        test: Test of a per-neuron distance between them.
        changes: Dictionary of the shifts of neurons under named changes.
        names: Names of A and B.
        properties: Properties of images that differ, if they were not measured as neurons of these DNAs.

    """
    p_value = None if test is None else test.p_value
    if not (has_means(a) and has_means(b)):
        return Explanation(p_value, [], None, None, names)
    if p_value is not None and p_value > SIGNIFICANT:
        return Explanation(p_value, properties or [], None if changes is None else [], None, names)
    if p_value is None and any(not dna.has_unknown_size and dna.num_images < _LEAST_UNTESTED for dna in (a, b)):
        return Explanation(p_value, [], None, None, names)
    if properties is None:
        properties = property_differences(a, b, test)
    gaussian_a, gaussian_b = (as_gaussian(dna.to("cpu")) for dna in (a, b))
    shift = gaussian_b.mean - gaussian_a.mean
    explained = None if changes is None or not shift.any() else changes.explain(shift, gaussian_a.neurons)
    named, unexplained = (None, None) if explained is None else explained
    if any(_is_contradicted(change, properties) for change in named or ()):
        named = []
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
    verb = "vary" if _is_plural(difference.name) else "varies"
    return f"{difference.name} {verb} {'more' if difference.spread_b > difference.spread_a else 'less'}"


def _compared(name: str, more: bool) -> str:
    """Compare a property, as in "sharpness lower", "larger width" or "fewer dark pixels"."""
    if name in ("width", "height"):
        return f"{'larger' if more else 'smaller'} {name}"
    if _is_plural(name):
        return f"{'more' if more else 'fewer'} {name}"
    return f"{name} {'higher' if more else 'lower'}"


def _is_plural(name: str) -> bool:
    return name.endswith("s") and not name.endswith("ss")


def _is_contradicted(change: NamedChange, properties: list[PropertyDifference]) -> bool:
    """True if a property of the images differs in the other direction than the change would move it."""
    name, direction = _MOVES.get(change.name, ("", 0))
    return any(
        difference.name == name and difference.effect * direction < 0 and abs(difference.effect) >= _MIN_SHIFT
        for difference in properties
    )


def _changes_in_words(changes: list[NamedChange]) -> str:
    """List changes, as in "a blur of about 2.1 px and noise of about 4 grey levels (at 224 px)"."""
    depends_on_size = any(change.name in CHANGES and CHANGES[change.name].depends_on_size for change in changes)
    *others, last = [change.in_words for change in changes]
    return f"{', '.join(others)}{' and ' * bool(others)}{last}{' (at 224 px)' * depends_on_size}"
