"""Content of a report, independent of its format."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from torchmetrics_dna.dna.histogram import grouped
from torchmetrics_dna.dna.names import name_of
from torchmetrics_dna.dna.scale import scale_for
from torchmetrics_dna.files.visible import figure, images_in_words
from torchmetrics_dna.functional.permutation import SIGNIFICANT
from torchmetrics_dna.images.properties import property_in_words
from torchmetrics_dna.reporting.drawing import GROUPS, step_path
from torchmetrics_dna.reporting.words import describe_settings, made_with

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.dna.explanation import Explanation
    from torchmetrics_dna.dna.scale import Scale
    from torchmetrics_dna.singles.cards import Cards
    from torchmetrics_dna.statistics.scores import Scorer


class Place(NamedTuple):
    """Place of a distance on the scale of known changes.

    Attributes:
        scale: The scale.
        value: The distance, in bins.
        low: Lower end of its interval.
        high: Upper end.
        shown: The distance in words.
        is_debiased: True if it is corrected for sampling noise.

    """

    scale: Scale
    value: float
    low: float
    high: float
    shown: str
    is_debiased: bool

    @property
    def largest(self) -> float:
        """Largest value of the scale, or of the interval."""
        return max(self.high, *(mark.most for mark in self.scale.marks))

    @property
    def note(self) -> str:
        """Sentences on what the scale shows."""
        draws = f"means and ranges of {self.scale.num_draws} draws of {self.scale.images}"
        note = f"Known changes of photographs on the same scale: {draws}. Only p says whether a difference is real."
        if not self.is_debiased:
            note += " dna-emd is shown without the correction, which takes too much from sets that share images."
        return note

    @property
    def sentence(self) -> str:
        """The distance beside all known changes."""
        marks = [
            f"{mark.name} {figure(mark.mean)} ({figure(mark.least)} to {figure(mark.most)})"
            for mark in self.scale.marks
        ]
        return f"dna-emd {self.shown}; on the same scale, of {self.scale.images}: {', '.join(marks)}."


@dataclass(frozen=True)
class Findings:
    """Content of a report on two image sets.

    Attributes:
        comparison: The comparison, with histograms of known ranges.
        cards: Cards of the neurons with most evidence, and the sampled images; None if neither side has images.
        scorers: By side, ``"a"``, ``"b"`` or both, the scorer of its sample.
        settings: Settings to list beside those of the comparison.
        partners: Index in B of the partner of each image of A; None unless images correspond.

    """

    comparison: Comparison
    cards: Cards | None
    scorers: Mapping[str, Scorer]
    settings: Mapping[str, str]
    partners: Sequence[int] | None = None

    @cached_property
    def explanation(self) -> Explanation:
        """Explanation of the differences in words."""
        return self.comparison.explain()

    @property
    def may_differ(self) -> bool:
        """True unless the test shows no difference, where single images and neurons have nothing to show."""
        return self.explanation.differs is not False

    @cached_property
    def place_on_scale(self) -> Place | None:
        """This comparison's dna-emd on the scale of known changes; None if that was not measured in the same way."""
        result = self.comparison["dna-emd"]
        scale = scale_for(self.comparison.aligned()[0]) if result.weights is None else None
        if scale is None:
            return None
        if self.comparison.shares_images and not self.comparison.paired:  # correction assumes independent sides
            return Place(scale, result.value, result.value, result.value, f"{figure(result.value)} bins", False)
        interval = result.interval
        if interval is None:
            return None
        shown = result.overall.debiased_shown
        text = shown if isinstance(shown, str) else f"{figure(interval.value)} bins"
        return Place(scale, interval.value, interval.low, interval.high, text, True)

    @property
    def sides(self) -> dict[str, str]:
        """Name and number of images of ``"a"`` and ``"b"``."""
        names, counts = self.comparison.names, self.comparison.num_images
        return {
            side: images_in_words(counts[side]) if name == side.upper() else f"{name} ({images_in_words(counts[side])})"
            for side, name in zip("ab", names, strict=True)
        }

    @property
    def all_settings(self) -> dict[str, str]:
        """All settings that the figures depend on, by name."""
        return describe_settings(self.comparison, self.settings)

    @property
    def summary(self) -> str:
        """One paragraph, for a paper or a pull request."""
        sides = ", ".join(f"{side.upper()}: {text}" for side, text in self.sides.items())
        return " ".join(
            [
                f"{sides}.",
                self.comparison.verdict,
                *self.explanation.property_sentences,
                f"({made_with(self.comparison)}.)",
            ]
        )

    @cached_property
    def properties(self) -> list[dict[str, Any]]:
        """Rows of all properties of images, clearest difference first; empty if they were not measured."""
        comparison = self.comparison.properties
        if comparison is None:
            return []
        a, b = comparison.means
        shares, used, _ = grouped(*comparison.aligned(), GROUPS)
        heights = (255 * shares / shares.amax((1, 2), keepdim=True)).round().int().tolist()
        p = self.comparison.p_value_of_properties
        rows = []
        for row in comparison.top_neurons(comparison.neurons.total):
            name, place = name_of(row["layer"], row["neuron"]), comparison.neurons.index(row["layer"], row["neuron"])
            values = {side: property_in_words(name, float(means[place])) for side, means in (("a", a), ("b", b))}
            clear = None if row["q"] is None or p is None else row["q"] <= SIGNIFICANT >= p
            paths = [step_path(side, int(used[place]), 160, 24) for side in heights[place]]
            rows.append({"name": name, **values, "q": row["q"], "clear": clear, "paths": paths})
        return rows
