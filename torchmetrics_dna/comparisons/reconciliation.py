"""Result of a search for the choices that explain a claimed value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.comparisons.results import Results
from torchmetrics_dna.dna.saving import part_of_results
from torchmetrics_dna.files.tables import Table
from torchmetrics_dna.files.visible import figure, images_in_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torchmetrics_dna.files.tables import Cell

PLAIN = "as the protocol says"
ANOTHER_SAMPLE = 1.96 * 2**0.5  # standard errors between the values of two samples of one generator, in 95 % of cases
_RARE = 0.05  # share of claims up to which a match of two choices is no accident
_MOST_SHOWN = 12  # rows of the table


@part_of_results
@dataclass(frozen=True)
class Attempt:
    """Value by one way to compute it.

    Attributes:
        choices: Clauses that follow "if"; empty for the protocol.
        value: The value.
        tolerance: Distance from the claimed value up to which the two agree.

    """

    choices: tuple[str, ...]
    value: float
    tolerance: float

    @property
    def name(self) -> str:
        """The choices in words."""
        return ", and ".join(self.choices) or PLAIN


@dataclass(frozen=True, eq=False, repr=False)
class Reconciliation(Results[Attempt]):
    """Values by each choice: a mapping of attempts by the choices in words, the protocol first.

    Attributes:
        metric: Name of the metric.
        claimed: The claimed value, as it was written.
        same_images: True if the claimed value is of the very images.
        num_images: Number of images.
        standard_error: Standard error of the value by the protocol; None if there are too few images for one.
        unreadable: One line for each image that was left out.
        results: Value by the protocol, by each choice, and by pairs of choices if none explains the claimed value.
        chance: Share of the claims about as far from the protocol's value that a single choice would explain.
        chance_of_pairs: Share that a pair would explain; None if pairs were not tried.

    """

    metric: str
    claimed: str
    same_images: bool
    num_images: int
    standard_error: float | None
    unreadable: Sequence[str]
    results: Mapping[str, Attempt]
    chance: float | None = None
    chance_of_pairs: float | None = None

    @property
    def plain(self) -> Attempt:
        """Value by the protocol."""
        return self[PLAIN]

    @property
    def agrees(self) -> bool:
        """True if the protocol gives the claimed value."""
        return self._explains(self.plain)

    @property
    def explanations(self) -> list[Attempt]:
        """Choices that explain the claimed value, the nearest first; empty if the protocol does, or none does.

        Pairs are among them only if at most 5 % of claims would be explained by a pair.
        """
        if self.agrees:
            return []
        singles = [attempt for attempt in self.nearest if len(attempt.choices) == 1 and self._explains(attempt)]
        pairs = [attempt for attempt in self.nearest if len(attempt.choices) == 2 and self._explains(attempt)]
        return singles or (pairs if (self.chance_of_pairs or 0) <= _RARE else [])

    @property
    def nearest(self) -> list[Attempt]:
        """All attempts but the protocol, the nearest first."""
        return sorted((each for each in self.values() if each.choices), key=self._distance)

    @property
    def verdict(self) -> str:
        """The result in sentences."""
        value = f"{self.metric} is {self._shown(self.plain.value)} by the protocol"
        claim = f"{self.claimed} is claimed"
        if self.agrees:
            return f"Nothing to reconcile: {value}, and {claim}{self._within}."
        explanations = self.explanations
        if not explanations:
            return " ".join([f"{value}, but {claim}.", *self._of_none])
        if len(explanations) == 1:
            (single,) = explanations
            named = f"It is {self._shown(single.value)} if {single.name}{self._within}."
        else:
            ways = "; or ".join(f"{each.name} ({self._shown(each.value)})" for each in explanations)
            named = f"Any of these would do{self._within}: {ways}."
        chance = self.chance if len(explanations[0].choices) == 1 else self.chance_of_pairs
        accident = (
            [] if chance is None else [f"Of values about as far off, {_percent(chance)} would be explained, too."]
        )
        return " ".join([f"{value}, but {claim}.", named, *accident])

    @property
    def table(self) -> Table:
        """The protocol, and the nearest choices."""
        attempts = [self.plain, *self.nearest[:_MOST_SHOWN]]
        rows: list[list[Cell]] = [
            [each.name, each.value, each.value - float(self.claimed), "agrees" if self._explains(each) else "-"]
            for each in attempts
        ]
        left = len(self) - len(attempts)
        more = f", and {left} more" if left > 0 else ""
        title = f"{self.metric} of {images_in_words(self.num_images)}, the nearest to {self.claimed} first{more}"
        return Table(["if", self.metric, "off by", ""], rows, title)

    def rows(self) -> list[dict[str, Any]]:
        """Return one record for each attempt in plain types: the protocol, then the nearest first."""
        return [
            {
                "choices": each.name,
                "value": each.value,
                "off_by": each.value - float(self.claimed),
                "tolerance": each.tolerance,
                "explains": self._explains(each),
            }
            for each in (self.plain, *self.nearest)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return all results in plain types, ready for json."""
        return {
            "verdict": self.verdict,
            "metric": self.metric,
            "claimed": self.claimed,
            "same_images": self.same_images,
            "num_images": self.num_images,
            "standard_error": self.standard_error,
            "explanations": [list(each.choices) for each in self.explanations],
            "chance": self.chance,
            "chance_of_pairs": self.chance_of_pairs,
            "values": self.rows(),
            "unreadable": list(self.unreadable),
        }

    @property
    def _within(self) -> str:
        """Say what agreement means for images of another sample."""
        return "" if self.same_images else ", within what another sample of the generator differs by"

    @property
    def _of_none(self) -> list[str]:
        """Sentences for a value that nothing explains."""
        nearest = self.nearest[0]
        sentences = [
            f"No choice that was tried explains it. The nearest is {self._shown(nearest.value)}, if {nearest.name}."
        ]
        if any(len(each.choices) == 2 and self._explains(each) for each in self.nearest):
            assert self.chance_of_pairs is not None
            share = _percent(self.chance_of_pairs)
            remedy = "give more digits of it" if self.same_images else "give more images"
            sentences.append(
                f"Pairs of choices come as near to {share} of such values, so they explain none; {remedy}."
            )
        error = self.standard_error
        if self.same_images and error is not None and self._distance(self.plain) <= ANOTHER_SAMPLE * error:
            sentences.append(
                "Values of two samples of one generator differ as much: if the claimed one is of other images, there is"
                " nothing to reconcile."
            )
        return sentences

    def _explains(self, attempt: Attempt) -> bool:
        return self._distance(attempt) <= attempt.tolerance

    def _distance(self, attempt: Attempt) -> float:
        return abs(attempt.value - float(self.claimed))

    def _shown(self, value: float) -> str:
        """Format a value with a digit more than the claimed one has."""
        digits = decimals(self.claimed)
        return figure(value) if digits is None else f"{value:.{digits + 1}f}"

    def __repr__(self) -> str:
        outcome = "agrees" if self.agrees else f"{len(self.explanations)} explanations"
        return f"Reconciliation({self.metric}, {self.claimed} claimed, {len(self)} values, {outcome})"


def decimals(number: str) -> int | None:
    """Return the number of decimals of a number as it was written; None with an exponent.

    Example:
        >>> decimals("12.30"), decimals("12"), decimals("1e-3")
        (2, 0, None)

    """
    return None if "e" in number.lower() else len(number.partition(".")[2])


def share_explained(plain: Attempt, attempts: Iterable[Attempt], claimed: float) -> float:
    """Return the share of claims up to twice as far from the protocol's value that would be explained.

    Claims that the protocol itself explains are left out.

    Example:
        >>> share_explained(Attempt((), 5.0, 0.0), [Attempt(("x",), 6.0, 0.5)], 6.0)
        0.25

    """
    reach = 2 * abs(claimed - plain.value)
    low, high = plain.value - plain.tolerance, plain.value + plain.tolerance
    sides = ((plain.value - reach, low), (high, plain.value + reach))
    intervals = sorted((each.value - each.tolerance, each.value + each.tolerance) for each in attempts)
    covered, total = 0.0, 0.0
    for begin, end in sides:
        total += max(0.0, end - begin)
        done = begin
        for first, last in intervals:
            covered += max(0.0, min(last, end) - max(first, done))
            done = max(done, min(last, end))
    return covered / total if total else 1.0


def _percent(share: float) -> str:
    return "under 1 %" if share < 0.01 else f"{share:.0%}".replace("%", " %")
