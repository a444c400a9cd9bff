"""All that a report says, in whichever format."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.dna.names import name_of
from torchmetrics_dna.files.visible import images_in_words
from torchmetrics_dna.images.properties import property_in_words
from torchmetrics_dna.reporting.cards import describe_cards
from torchmetrics_dna.reporting.words import made_with, verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torchmetrics_dna.dna.explanation import Explanation
    from torchmetrics_dna.reporting.scored import Scored
    from torchmetrics_dna.sets.cards import Cards
    from torchmetrics_dna.sets.comparison import Comparison

_SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Findings:
    """What was found of two sets.

    Attributes:
        found: The comparison, with histograms of known ranges.
        names: What A and B are called.
        scored: Images of ``"a"``, of ``"b"``, or of both, by how much closer they are to the other side.
        cards: Of the neurons with most evidence; None where neither side has images.
        settings: To say for the record, beside what the comparison knows.

    """

    found: Comparison
    names: tuple[str, str]
    scored: Mapping[str, Scored]
    cards: Cards | None
    settings: Mapping[str, str]

    @cached_property
    def explanation(self) -> Explanation:
        """What differs, in words."""
        return self.found.explain()

    @cached_property
    def shown(self) -> dict[str, Any] | None:
        """The cards, as a template takes them."""
        return None if self.cards is None else describe_cards(self.cards)

    @property
    def verdict(self) -> str:
        """Whether and how far the sets differ."""
        return verdict(self.found)

    @property
    def sentences(self) -> list[str]:
        """What differs: properties of images, named changes, and what the network takes the images for."""
        classes = self.shown and self.shown["classes"]
        return [*self.explanation.sentences, *([classes["sentence"]] if classes and classes["rows"] else [])]

    @property
    def summary(self) -> str:
        """One paragraph, for a paper or a pull request."""
        sides = ", ".join(
            f"{letter.upper()}: {name} ({images_in_words(self.found.num_images[letter])})"
            for letter, name in zip("ab", self.names, strict=True)
        )
        return " ".join([f"{sides}.", self.verdict, *self.sentences, f"({made_with(self.found)}.)"])

    @property
    def properties(self) -> list[dict[str, Any]]:
        """All properties of images, the clearest difference first; none where they were not watched."""
        compared = self.found.properties
        if compared is None:
            return []
        a, b = compared.means
        rows = []
        for row in compared.top_neurons(compared.neurons.total):
            name, place = name_of(row["layer"], row["neuron"]), compared.neurons.index(row["layer"], row["neuron"])
            values = {side: property_in_words(name, float(means[place])) for side, means in (("a", a), ("b", b))}
            clear = None if row["q"] is None else row["q"] <= _SIGNIFICANT
            rows.append({"name": name, **values, "higher": row["shift"] > 0, "q": row["q"], "clear": clear})
        return rows
