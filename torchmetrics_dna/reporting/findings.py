"""All that a report says, in whichever format."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.dna.names import name_of
from torchmetrics_dna.files.visible import images_in_words
from torchmetrics_dna.functional.permutation import SIGNIFICANT
from torchmetrics_dna.images.properties import property_in_words
from torchmetrics_dna.reporting.cards import describe_cards, describe_classes
from torchmetrics_dna.reporting.words import made_with, verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.dna.explanation import Explanation
    from torchmetrics_dna.reporting.scored import Scored
    from torchmetrics_dna.singles.cards import Cards


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
        """The cards, as a template takes them; their pictures are read for it."""
        return None if self.cards is None else describe_cards(self.cards)

    @property
    def classes(self) -> dict[str, Any] | None:
        """A sentence on what the network takes the images for, and rows of a table; None where it is not sure."""
        known = self.cards and self.cards.classes
        return describe_classes(known) if known else None

    @property
    def verdict(self) -> str:
        """Whether and how far the sets differ."""
        return verdict(self.found)

    @property
    def sentences(self) -> list[str]:
        """What differs: properties of images, named changes, and what the network takes the images for."""
        told = self.explanation.sentences
        return [*told, self.classes["sentence"]] if self.classes and self.classes["rows"] else told

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
        p = self.found.p_value_of_properties
        rows = []
        for row in compared.top_neurons(compared.neurons.total):
            name, place = name_of(row["layer"], row["neuron"]), compared.neurons.index(row["layer"], row["neuron"])
            values = {side: property_in_words(name, float(means[place])) for side, means in (("a", a), ("b", b))}
            clear = None if row["q"] is None or p is None else row["q"] <= SIGNIFICANT >= p
            rows.append({"name": name, **values, "higher": row["shift"] > 0, "q": row["q"], "clear": clear})
        return rows
