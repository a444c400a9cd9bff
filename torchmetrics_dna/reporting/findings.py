"""Content of a report, independent of its format."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.dna.names import name_of
from torchmetrics_dna.files.visible import images_in_words
from torchmetrics_dna.functional.permutation import SIGNIFICANT
from torchmetrics_dna.images.properties import property_in_words
from torchmetrics_dna.reporting.cards import describe_cards, describe_classes
from torchmetrics_dna.reporting.words import made_with

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.dna.explanation import Explanation
    from torchmetrics_dna.reporting.scored import Scored
    from torchmetrics_dna.singles.cards import Cards


@dataclass(frozen=True)
class Findings:
    """Content of a report on two image sets.

    Attributes:
        comparison: The comparison, with histograms of known ranges.
        names: Names of A and B.
        scored: Images of ``"a"``, of ``"b"`` or of both, ordered by how much closer they are to the other side.
        cards: Cards of the neurons with most evidence; None if neither side has images.
        settings: Settings to list beside those of the comparison.

    """

    comparison: Comparison
    names: tuple[str, str]
    scored: Mapping[str, Scored]
    cards: Cards | None
    settings: Mapping[str, str]

    @cached_property
    def explanation(self) -> Explanation:
        """Explanation of the differences in words."""
        return self.comparison.explain()

    @cached_property
    def shown(self) -> dict[str, Any] | None:
        """Cards as input of the template; reads their pictures."""
        return None if self.cards is None else describe_cards(self.cards)

    @property
    def classes(self) -> dict[str, Any] | None:
        """Sentence and table rows on the classes that the network predicts; None if it has no classifier."""
        classes = self.cards and self.cards.classes
        return describe_classes(classes) if classes else None

    @property
    def sentences(self) -> list[str]:
        """Sentences after the verdict: properties of images that differ, and predicted classes."""
        sentences = self.explanation.property_sentences
        return [*sentences, self.classes["sentence"]] if self.classes and self.classes["rows"] else sentences

    @property
    def summary(self) -> str:
        """One paragraph, for a paper or a pull request."""
        sides = ", ".join(
            f"{letter.upper()}: {name} ({images_in_words(self.comparison.num_images[letter])})"
            for letter, name in zip("ab", self.names, strict=True)
        )
        return " ".join([f"{sides}.", self.comparison.verdict, *self.sentences, f"({made_with(self.comparison)}.)"])

    @property
    def properties(self) -> list[dict[str, Any]]:
        """Rows of all properties of images, clearest difference first; empty if they were not measured."""
        comparison = self.comparison.properties
        if comparison is None:
            return []
        a, b = comparison.means
        p = self.comparison.p_value_of_properties
        rows = []
        for row in comparison.top_neurons(comparison.neurons.total):
            name, place = name_of(row["layer"], row["neuron"]), comparison.neurons.index(row["layer"], row["neuron"])
            values = {side: property_in_words(name, float(means[place])) for side, means in (("a", a), ("b", b))}
            clear = None if row["q"] is None or p is None else row["q"] <= SIGNIFICANT >= p
            rows.append({"name": name, **values, "higher": row["shift"] > 0, "q": row["q"], "clear": clear})
        return rows
