"""What differs between two sets: records, and the sentences on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from torchmetrics_dna.files.visible import images_in_words, p_figure
from torchmetrics_dna.functional.permutation import SIGNIFICANT
from torchmetrics_dna.images.changes import CHANGES, Causes
from torchmetrics_dna.images.pixel_differences import FULL, GAMMA, LIMITED, ROUNDING, SWAPPED, PixelDifferences
from torchmetrics_dna.images.properties import PLAIN, property_in_words

# Number of properties that a sentence names at most.
_MOST_PROPERTIES = 3
# A cause leaves much to explain if more than this share of the distance remains.
_MUCH = 0.25
# Standard deviations between means, from which on a property is called higher or lower.
_MIN_SHIFT = 0.2
# End of the names of properties that are shares of file formats.
_FILES = " files"
#: What is said of images after a change of all their pixels; ``{}`` is its amount.
_PIXEL_CHANGES = {
    SWAPPED: "with red and blue swapped",
    LIMITED: "in limited range (16 to 235)",
    FULL: "expanded from limited range (16 to 235)",
    GAMMA: "with gamma {:.2f}",
}


class PropertyDifference(NamedTuple):
    """Property of images that differs between A and B.

    Attributes:
        name: Name of the property.
        a: Mean in A, from 0 to 1, in the scale of :func:`image_properties`.
        b: Mean in B.
        spread_a: Standard deviation over the images of A.
        spread_b: Standard deviation over the images of B.
        q: False discovery rate among neurons with at least as much evidence; None without a test.
        theirs: The smallest and the largest mean of the sets that are A together; None if it is one set.

    """

    name: str
    a: float
    b: float
    spread_a: float
    spread_b: float
    q: float | None
    theirs: tuple[float, float] | None = None

    @property
    def effect(self) -> float:
        """Difference of the means in standard deviations."""
        spread = math.sqrt((self.spread_a**2 + self.spread_b**2) / 2)
        return (self.b - self.a) / max(spread, 1e-6)

    @property
    def direction(self) -> int:
        """1 if the property is higher in B, -1 if it is lower, 0 if the means are too near to call it so."""
        return 0 if abs(self.effect) < _MIN_SHIFT else int(math.copysign(1, self.effect))


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
        is_rejected: False if none was found, but too few images rule out all that were checked.
        guess: The likeliest of these, if a property of images differs as it would by it.
        colourless: Number of images without colour in A and in B, and of all in B, where these are clearly more than in
            A; else None.
        unmeasured: Why properties were not measured, and what to do; empty if they were.
        lacks: What a test lacks, and what it takes; empty if there is one.
        paired: True if each image of B has its partner in A, and so shows the same.
        pixels: Differences between the pixels of pairs; None if they were not compared.

    """

    p_value: float | None
    properties: list[PropertyDifference]
    causes: Causes | None = None
    names: tuple[str, str] = ("A", "B")
    is_searched: bool = False
    is_rejected: bool = True
    guess: Causes | None = None
    colourless: tuple[int, int, int] | None = None
    unmeasured: str = ""
    lacks: str = ""
    paired: bool = False
    pixels: PixelDifferences | None = None

    @property
    def differs(self) -> bool | None:
        """True if the test finds a difference; None without a test."""
        return None if self.p_value is None else self.p_value <= SIGNIFICANT

    def __str__(self) -> str:
        return what_differs(self)


def pixels_of_pairs(explanation: Explanation) -> list[str]:
    """Return lines on the pixels of pairs: how many pairs differ, by how much, and the change that explains this."""
    pixels = explanation.pixels
    if pixels is None:
        return []
    a, b = explanation.names
    pairs = f"{pixels.num_pairs:,} pairs"
    if pixels.num_pairs == 1:
        pairs = "1 pair"
    if pixels.num_pairs < pixels.num_total:
        pairs += f", drawn from {pixels.num_total:,},"
    if pixels.num_other_shapes == pixels.num_pairs:
        which = "the pair" if pixels.num_pairs == 1 else f"all {pairs}"
        return [f"The images of {which} differ in size, so their pixels were not compared."]
    if pixels.num_different == 0:
        line = f"None of {pairs} differs in pixels"
    else:
        verb = "differs" if pixels.num_different == 1 else "differ"
        levels = "1 grey level" if pixels.median == 1 else f"{pixels.median} grey levels"
        line = (
            f"{pixels.num_different:,} of {pairs} {verb} in pixels, by {levels} (median) and at most {pixels.largest}"
        )
    if pixels.num_other_shapes:
        verb = "differs" if pixels.num_other_shapes == 1 else "differ"
        line += f"; {pixels.num_other_shapes:,} {verb} in size"
    lines = [f"{line}."]
    if pixels.change is not None:
        change = _PIXEL_CHANGES[pixels.change].format(pixels.amount)
        lines.append(f"{b} is {a} {change} in {_explained_pairs(pixels)}.")
    return lines


def _explained_pairs(pixels: PixelDifferences) -> str:
    """Return the pairs that a change explains, in words."""
    verb = "differ"
    if pixels.num_unequal == 1:
        pairs = "the one pair"
        verb = "differs"
    elif pixels.num_explained == pixels.num_unequal:
        pairs = f"all {pixels.num_unequal:,} pairs"
    else:
        pairs = f"{pixels.num_explained:,} of {pixels.num_unequal:,} pairs"
    rounding = f"{ROUNDING} grey level"
    if pixels.num_unequal < pixels.num_different:
        return f"{pairs} that {verb} by more than {rounding}"
    return f"{pairs} that {verb}, within {rounding}"


def has_exact_change(explanation: Explanation) -> bool:
    """True if a change of all pixels explains pairs."""
    return explanation.pixels is not None and explanation.pixels.change is not None


def difference(explanation: Explanation) -> list[str]:
    """Return clauses: do the sets differ, and what change of A comes near to B? None if no test was made."""
    a, b = explanation.names
    causes = explanation.causes
    if explanation.differs is None:
        return []
    if not explanation.differs:
        return [f"No significant difference between {a} and {b}"]
    if explanation.colourless is not None and (causes is None or causes.names == ("less saturation",)):
        of_a, of_b, total = explanation.colourless
        grey = f"{of_b:,} of {images_in_words(total)} in {b} have no colour, and {of_a or 'none'} in {a}"
        return [f"{b} differs significantly from {a}", grey]
    if causes is None:
        differs = f"{b} differs significantly from {a}"
        return [differs, _unexplained(explanation)] if explanation.is_searched else [differs]
    share = causes.bins[-1] / causes.bins[0]
    if not share:
        return [
            f"{b} differs significantly from {a}, as if {a} were {causes.in_words}",
            f"After this change of {a}, the remaining distance is within sampling noise",
        ]
    return [
        f"{b} differs significantly from {a}, in part as if {a} were {causes.in_words}",
        f"After this change of {a}, {100 * share:.0f}% of the distance remains",
    ]


def _unexplained(explanation: Explanation) -> str:
    """Return a clause on changes that were searched for, of which none is shown to explain the difference."""
    if explanation.guess is not None:
        a = explanation.names[0]
        return f"Perhaps as if {a} were {explanation.guess.in_words}, but there are too few images to test this"
    if explanation.paired and not explanation.is_rejected:
        # The pairs show the same, so what differs is measured in the next line, and more pairs would not say it better.
        return "No tested change explains the difference significantly"
    if explanation.paired:
        return "No tested change explains the difference"
    if explanation.is_rejected:
        return "No tested change explains the difference, so the images may have other content"
    return "There are too few images to test whether a change or other content explains the difference"


def what_was_measured(explanation: Explanation) -> list[str]:
    """Return the sentence on the plainest properties of images that differ, or nothing."""
    by_name = {each.name: each for each in explanation.properties}
    if any(each.effect > 0 for name, each in by_name.items() if name.endswith(_FILES)):
        # More files of one format imply fewer of the others.
        by_name = {name: each for name, each in by_name.items() if not name.endswith(_FILES) or each.effect > 0}
    if "width" in by_name:
        by_name.pop("height", None)
    fits = moved_by(explanation.guess)
    causes = explanation.causes
    explained: list[str] = []
    if causes is not None and causes.bins[-1] > _MUCH * causes.bins[0]:
        # If a named cause leaves much of the distance, other plain properties come before those that it moves itself.
        explained = moved_by(causes)
    order = [*(name for name in PLAIN if name not in explained), *explained, *by_name]

    def rank(name: str) -> tuple[bool, bool, int]:
        return name not in fits, not by_name[name].direction, order.index(name)

    names = sorted(by_name, key=rank)
    phrases = [_property(by_name[name]) for name in names[:_MOST_PROPERTIES]]
    if not phrases:
        return []
    a, b = explanation.names
    are_several = any(each.theirs is not None for each in explanation.properties)
    head = f"Properties that differ most in {b}: " if are_several else f"Properties that differ most ({a} → {b}): "
    return [f"{head}{', '.join(phrases)}."]


def moved_by(causes: Causes | None) -> list[str]:
    """Return the property of images that each change moves most plainly."""
    return [] if causes is None else [CHANGES[name].moves[:-2] for name in causes.names]


def _property(of: PropertyDifference) -> str:
    if not of.direction:
        return f"{of.name} (more varied)" if of.spread_b > of.spread_a else f"{of.name} (less varied)"
    values = (of.a, of.b) if of.theirs is None else (of.b, *of.theirs)
    first, *others = (property_in_words(of.name, value, 2) for value in values)
    if first in others:
        # Two digits do not show the difference.
        first, *others = (property_in_words(of.name, value, 3) for value in values)
    if of.theirs is None:
        return f"{of.name} {first} → {others[0]}"
    # If both ends look the same, one is shown.
    theirs = " to ".join(dict.fromkeys(others))
    return f"{of.name} {first} (other sets: {theirs})"


def what_differs(explanation: Explanation) -> str:
    """Return the explanation as a text."""
    pixels = pixels_of_pairs(explanation)
    clauses = difference(explanation)
    if clauses:
        clauses[0] += f" ({p_figure(explanation.p_value, 'p')})"
    sentences = what_was_measured(explanation)
    if explanation.unmeasured:
        sentences.append(f"{explanation.unmeasured}.")
    if not clauses and explanation.lacks:
        sentences.append(f"Not tested: {explanation.lacks}.")
    elif not clauses and (explanation.unmeasured or not sentences):
        sentences.append("`num_folds=20` gives a test.")
    return " ".join([*pixels, *(f"{clause}." for clause in clauses), *sentences])
