"""Records of the differences between two sets, and sentences on the differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torchmetrics_dna.files.visible import images_in_words, p_figure
from torchmetrics_dna.functional.permutation import SIGNIFICANT
from torchmetrics_dna.images.changes import CHANGES, Causes
from torchmetrics_dna.images.pixel_differences import FULL, GAMMA, LIMITED, ROUNDING, SWAPPED, PixelDifferences
from torchmetrics_dna.images.properties import PLAIN, property_in_words
from torchmetrics_dna.options import written

# Largest number of properties that a sentence names.
_MOST_PROPERTIES = 3
# If more than this share of the distance remains after a change, the properties that it affects are named last.
_MUCH = 0.25
# Least difference of the means, in standard deviations, for a property that is called higher or lower.
_MIN_SHIFT = 0.2
# Suffix of the names of properties that are shares of file formats.
_FILES = " files"
#: Descriptions of images after a change of all their pixels. ``{}`` stands for the amount of the change.
_PIXEL_CHANGES = {
    SWAPPED: "with red and blue swapped",
    LIMITED: "in limited range (16 to 235)",
    FULL: "expanded from limited range (16 to 235)",
    GAMMA: "with gamma {:.2f}",
}


class PropertyDifference(NamedTuple):
    """Image property that differs between A and B.

    Attributes:
        name: Name of the property.
        a: Mean in A, from 0 to 1, in the scale of :func:`image_properties`.
        b: Mean in B.
        spread_a: Standard deviation over the images of A.
        spread_b: Standard deviation over the images of B.
        q: False discovery rate among the properties with at least as much evidence; None without a test.
        range_of_others: If A consists of several sets, the smallest and the largest of their means; else None.

    """

    name: str
    a: float
    b: float
    spread_a: float
    spread_b: float
    q: float | None
    range_of_others: tuple[float, float] | None = None

    @property
    def effect(self) -> float:
        """Difference of the means in standard deviations."""
        spread = math.sqrt((self.spread_a**2 + self.spread_b**2) / 2)
        return (self.b - self.a) / max(spread, 1e-6)

    @property
    def direction(self) -> int:
        """1 if the property is higher in B, -1 if it is lower in B, and 0 if the means are close."""
        if abs(self.effect) < _MIN_SHIFT:
            return 0
        return 1 if self.effect > 0 else -1


@dataclass(frozen=True)
class Explanation:
    """Differences between two sets A and B. ``str()`` returns them as a text.

    Attributes:
        p_value: P-value of the test for any difference; None without a test.
        properties: Image properties that differ, the clearest first; empty if properties were not measured.
        causes: Changes that remove at least half of the squared distance when they are applied to A. None if there are
            no such changes, if a property contradicts them, or if no changes were tested.
        names: Names of A and B.
        is_searched: True if changes were tested.
        is_rejected: False if no change was found, but there are too few images to rule out all changes.
        guess: The likeliest change. None if it was ruled out, or if no property differs in the direction of the change.
        colourless: Number of images without colour in A, number of images without colour in B, and number of images in
            B. None unless clearly more images are without colour in B.
        unmeasured: Reason why properties were not measured, and a remedy; empty if properties were measured.
        why_untested: Reason why there is no test, and what a test requires; empty if there is a test.
        paired: True if the images are pairs, and both images of a pair show the same content.
        pixels: Differences between the pixels of pairs; None if pixels were not compared.

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
    why_untested: str = ""
    paired: bool = False
    pixels: PixelDifferences | None = None

    @property
    def differs(self) -> bool | None:
        """True if the test finds a difference; None without a test."""
        if self.p_value is None:
            return None
        return self.p_value <= SIGNIFICANT

    def __str__(self) -> str:
        return what_differs(self)


def pixels_of_pairs(explanation: Explanation) -> list[str]:
    """Return sentences on the pixels of pairs.

    They report how many pairs differ, by how much, and the change of all pixels that explains the difference.
    """
    pixels = explanation.pixels
    if pixels is None:
        return []
    lines = [_how_pixels_differ(pixels)]
    if pixels.change is not None:
        a, b = explanation.names
        change = _PIXEL_CHANGES[pixels.change].format(pixels.amount)
        lines.append(f"{b} is {a} {change} in {_explained_pairs(pixels)}.")
    return lines


def _how_pixels_differ(pixels: PixelDifferences) -> str:
    """Return sentences on how many pairs differ in pixels and in size, and by how much the pixels differ."""
    pairs = "1 pair" if pixels.num_pairs == 1 else f"{pixels.num_pairs:,} pairs"
    if pixels.num_pairs < pixels.num_total:
        pairs += f", drawn from {pixels.num_total:,},"
    if pixels.num_other_shapes == pixels.num_pairs:
        all_pairs = "the pair" if pixels.num_pairs == 1 else f"all {pairs}"
        return f"The images of {all_pairs} differ in size, so their pixels were not compared."
    difference_in_pixels = _num_different_in_pixels(pixels, pairs)
    if not pixels.num_other_shapes:
        return f"{difference_in_pixels}."
    verb = _differ(pixels.num_other_shapes)
    return f"{difference_in_pixels}. {pixels.num_other_shapes:,} {verb} in size."


def _num_different_in_pixels(pixels: PixelDifferences, pairs: str) -> str:
    """Return the clause on the number of pairs that differ in pixels; ``pairs`` is the number of all pairs in words."""
    if pixels.num_different == 0:
        return f"None of {pairs} differs in pixels"
    verb = _differ(pixels.num_different)
    levels = "1 grey level" if pixels.median == 1 else f"{pixels.median} grey levels"
    return f"{pixels.num_different:,} of {pairs} {verb} in pixels, by {levels} (median) and at most {pixels.largest}"


def _differ(count: int) -> str:
    """Return the verb of a statement about so many pairs."""
    return "differs" if count == 1 else "differ"


def _explained_pairs(pixels: PixelDifferences) -> str:
    """Return the number of pairs that a change explains, in words."""
    verb = _differ(pixels.num_unequal)
    if pixels.num_unequal == 1:
        pairs = "the one pair"
    elif pixels.num_explained == pixels.num_unequal:
        pairs = f"all {pixels.num_unequal:,} pairs"
    else:
        pairs = f"{pixels.num_explained:,} of {pixels.num_unequal:,} pairs"
    rounding = f"{ROUNDING} grey level"
    if pixels.num_unequal < pixels.num_different:
        return f"{pairs} that {verb} by more than {rounding}"
    return f"{pairs} that {verb}, within {rounding}"


def has_exact_change(explanation: Explanation) -> bool:
    """True if one change of all pixels explains the difference between the two images of each pair."""
    return explanation.pixels is not None and explanation.pixels.change is not None


def difference(explanation: Explanation) -> list[str]:
    """Return clauses on whether the sets differ, and on the change of A that explains the difference.

    Returns:
        The clauses, without full stops. The list is empty without a test.

    """
    a, b = explanation.names
    causes = explanation.causes
    if explanation.differs is None:
        return []
    if not explanation.differs:
        return [f"No significant difference between {a} and {b}"]
    sets_differ = f"{b} differs significantly from {a}"
    # The number of images without colour says more than the change "less saturation", but less than other changes.
    has_other_cause = causes is not None and causes.names != ("less saturation",)
    if explanation.colourless is not None and not has_other_cause:
        count_a, count_b, total = explanation.colourless
        return [
            sets_differ,
            f"{count_b:,} of {images_in_words(total)} in {b} have no colour, and {count_a or 'none'} in {a}",
        ]
    if causes is not None:
        return _explained(sets_differ, explanation.names, causes)
    if explanation.is_searched:
        return [sets_differ, _unexplained(explanation)]
    return [sets_differ]


def _explained(sets_differ: str, names: tuple[str, str], causes: Causes) -> list[str]:
    """Return clauses on the changes of A that explain the difference, and on the distance that remains afterwards.

    Args:
        sets_differ: Clause that the sets differ.
        names: Names of A and of B.
        causes: The changes.

    """
    a, b = names
    remaining_share = causes.bins[-1] / causes.bins[0]
    if remaining_share == 0:
        return [
            f"{sets_differ}: it looks like {a} {causes.in_words}",
            f"After changing {a} in this way, the remaining distance to {b} is within sampling noise",
        ]
    return [
        f"{sets_differ}: in part, it looks like {a} {causes.in_words}",
        f"After changing {a} in this way, {100 * remaining_share:.0f}% of the distance remains",
    ]


def _unexplained(explanation: Explanation) -> str:
    """Return the clause for changes that were tested, if none of them explains the difference significantly."""
    if explanation.guess is not None:
        a, b = explanation.names
        return f"{b} may look like {a} {explanation.guess.in_words}, but there are too few images to test this"
    if explanation.paired and not explanation.is_rejected:
        # The images of a pair have the same content, so the properties in the next sentence describe the difference.
        # A remark on too few pairs would not help.
        return "No tested change explains the difference significantly"
    if explanation.paired:
        return "No tested change explains the difference"
    if explanation.is_rejected:
        return "No tested change explains the difference, so the images may have other content"
    return "There are too few images to test whether a change or other content explains the difference"


def what_was_measured(explanation: Explanation) -> list[str]:
    """Return the sentence on the image properties that differ most, as a list; empty if no property differs."""
    shown = _plainest_first(explanation)[:_MOST_PROPERTIES]
    if not shown:
        return []
    a, b = explanation.names
    are_several_sets = any(measured.range_of_others is not None for measured in explanation.properties)
    heading = f"Properties that differ most in {b}" if are_several_sets else f"Properties that differ most ({a} → {b})"
    return [f"{heading}: {', '.join(map(_property_in_words, shown))}."]


def _plainest_first(explanation: Explanation) -> list[PropertyDifference]:
    """Return the properties in the order in which a sentence names them.

    Properties that the guessed change affects come first. Properties whose means differ come before properties that
    differ only in their spread. After that, the order is from the easiest property to understand, as in ``PLAIN``.
    """
    by_name = {measured.name: measured for measured in _without_repeats(explanation.properties)}
    affected_by_guess = _affected_properties(explanation.guess)
    explained = _explained_properties(explanation.causes)
    plainest = [name for name in PLAIN if name not in explained]
    # A name may occur twice. Its first position counts.
    order = [*plainest, *explained, *by_name]

    def sort_key(name: str) -> tuple[bool, bool, int]:
        # False is sorted before True.
        differs_only_in_spread = by_name[name].direction == 0
        return name not in affected_by_guess, differs_only_in_spread, order.index(name)

    return [by_name[name] for name in sorted(by_name, key=sort_key)]


def _explained_properties(causes: Causes | None) -> list[str]:
    """Return the properties that a sentence names last, because the previous sentence names changes that affect them.

    The list is empty without changes, and if little of the distance remains after the changes.
    """
    if causes is None or causes.bins[-1] <= _MUCH * causes.bins[0]:
        return []
    return _affected_properties(causes)


def _without_repeats(properties: Sequence[PropertyDifference]) -> list[PropertyDifference]:
    """Return the properties without those that another property implies."""
    names = [measured.name for measured in properties]
    has_more_of_a_format = any(measured.effect > 0 for measured in properties if measured.name.endswith(_FILES))
    independent: list[PropertyDifference] = []
    for measured in properties:
        if measured.name == "height" and "width" in names:
            continue
        # More files of one format imply fewer files of the other formats.
        if has_more_of_a_format and measured.name.endswith(_FILES) and measured.effect <= 0:
            continue
        independent.append(measured)
    return independent


def _affected_properties(causes: Causes | None) -> list[str]:
    """Return the image property that each change affects most."""
    if causes is None:
        return []
    return [CHANGES[name].affected for name in causes.names]


def _property_in_words(measured: PropertyDifference) -> str:
    """Return how a property differs: in its spread, from A to B, or from the range of other sets."""
    name = measured.name
    if measured.direction == 0:
        more_or_less = "more" if measured.spread_b > measured.spread_a else "less"
        return f"{name} ({more_or_less} varied)"
    if measured.range_of_others is None:
        before, after = _distinct(name, measured.a, measured.b)
        return f"{name} {before} → {after}"
    value, low, high = _distinct(name, measured.b, *measured.range_of_others)
    reference_range = low if low == high else f"{low} to {high}"
    return f"{name} {value} (other sets: {reference_range})"


def _distinct(name: str, value: float, *others: float) -> list[str]:
    """Return values of a property in words.

    They have two significant digits, or three digits if two digits do not distinguish the first value from the others.
    """
    values = (value, *others)
    texts = [property_in_words(name, shown, 2) for shown in values]
    if texts[0] in texts[1:]:
        texts = [property_in_words(name, shown, 3) for shown in values]
    return texts


def what_differs(explanation: Explanation) -> str:
    """Return the explanation as a text."""
    on_properties = what_was_measured(explanation)
    sentences = pixels_of_pairs(explanation) + _result_of_test(explanation) + on_properties
    if explanation.unmeasured:
        sentences.append(f"{explanation.unmeasured}.")
    has_test = explanation.p_value is not None
    if explanation.why_untested and not has_test:
        sentences.append(f"Not tested: {explanation.why_untested}.")
    elif not has_test and not on_properties:
        # The text would otherwise not say what differs.
        sentences.append(f"Pass {written('num_folds', 20)} for a test.")
    return " ".join(sentences)


def _result_of_test(explanation: Explanation) -> list[str]:
    """Return sentences on whether the sets differ, with the p-value; nothing without a test."""
    if explanation.p_value is None:
        return []
    answer, *reasons = difference(explanation)
    answer = f"{answer} ({p_figure(explanation.p_value, 'p')})"
    return [f"{clause}." for clause in (answer, *reasons)]
