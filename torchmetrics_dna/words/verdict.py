"""Sentences on results: pure functions from figures to sentences. No sentence is read again to make another of it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from torchmetrics_dna.files.visible import LEAST_P, bins_in_words, images_in_words, number, p_figure
from torchmetrics_dna.functional.permutation import SIGNIFICANT
from torchmetrics_dna.images.changes import CHANGES, Causes
from torchmetrics_dna.images.noun import value_of
from torchmetrics_dna.images.numbers import FAULTS as NUMBER_FAULTS
from torchmetrics_dna.images.numbers import RECORDS as NUMBERS
from torchmetrics_dna.images.pixel_differences import FULL, GAMMA, LIMITED, ROUNDING, SWAPPED, PixelDifferences
from torchmetrics_dna.images.properties import FAULTS, PLAIN, RECORDS, property_in_words

if TYPE_CHECKING:
    from torchmetrics_dna.dna.evidence import Ratio
    from torchmetrics_dna.dna.result import Result
    from torchmetrics_dna.functional.odd import Odd
    from torchmetrics_dna.functional.outliers import FewOff

# Number of characters that a line has at most, if names of sets and images have up to 12.
_WIDTH = 100
# Number of lines of a verdict.
_MOST_LINES = 4
# Number of properties, of images that a test finds, and of sets that a line names at most.
_MOST_SHOWN = 3
# Number of odd images that a line names at most.
_MOST_OFF = 5
# If a larger share of images is odd, the verdict is about the set.
SAID_OF_SET = 0.25
#: Faults that no property or number shows, by what was judged.
UNSEEN = {"image": "most noise, watermarks, other content", "row": "other content", "input": "a flipped or rotated one"}
# A cause leaves much to explain if more than this share of the distance remains.
_MUCH = 0.25
# Standard deviations between means, from which on a property is called higher or lower.
_MIN_SHIFT = 0.2
# What replaces the test of independent images.
_INSTEAD = "Use `diff`, or `--pairs name` (`pairs=`) if the images correspond"
# End of the names of properties that are shares of file formats.
_FILES = " files"
#: What is said of an image for a reason of :class:`~torchmetrics_dna.functional.odd.Odd`; ``{}`` is the reference.
_REASONS = {
    "all black": "is all black",
    "all white": "is all white",
    "one colour": "is of one colour; none of {} is",
    "no colour": "has no colour; every image of {} has",
    "all zero": "is all zero",
    "one value": "is of one value",
    **{name: fault.words for name, fault in (FAULTS | NUMBER_FAULTS).items()},
}
#: What is said of images after a change of all their pixels; ``{}`` is its amount.
_PIXEL_CHANGES = {
    SWAPPED: "with red and blue swapped",
    LIMITED: "in limited range (16 to 235)",
    FULL: "expanded from limited range (16 to 235)",
    GAMMA: "with gamma {:.2f}",
}
# In short, a reason ends before these words, which lead to the reference.
_SHORT = ", |; | than any of"
_PLURALS = {"is": "are", "has": "have", "shows": "show"}


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


class Off(NamedTuple):
    """Images of a set that are off, and a test of the others."""

    named: Sequence[tuple[str, Odd]]  # names of images that are off, and why
    total: int  # images of the set
    p_value: float | None  # p-value of the test of a few of the others; None if there are none
    fewest: int | None  # images that are enough for it; None if there are too few for any
    by_test: int  # named images that this test shows to be off
    maybe: Sequence[str]  # images that it finds, none of them beyond all of the reference
    least: int | None  # images of the reference, or of the set, that single ones take, if it has fewer
    is_alone: bool  # whether they were judged beside the others of their own set
    has_properties: bool  # whether they were measured
    noun: str = "image"  # what the set has: images, rows or other inputs
    share: FewOff | None = None  # estimate of the share of outliers, if it is significantly above 0

    @property
    def are_many(self) -> bool:
        """True if it is said of the set, not of its images."""
        return len(self.named) > max(_MOST_OFF, SAID_OF_SET * self.total)


@dataclass(frozen=True)
class TwoSets:
    """Figures of two sets A and B."""

    names: tuple[str, str]
    told: Result | None  # result of dna-emd, or else of the first distance with a test; None if there is none
    p_value: float | None  # p-value of the test for any difference, by network and properties; None without one
    p_of_network: float | None
    p_of_properties: float | None  # None if properties of images were not measured or tested
    is_one_source: bool
    copies: tuple[int, int] | None  # so many, of all in B, that the sets are no independent samples
    lacks: str  # why there is no test
    is_few: bool  # so few images or groups that it is for want of these
    explanation: Explanation | None
    off: Off | None  # images of B that are unlike A; None if that was not asked
    most: str  # place where inputs that are no images differ most, in words
    noun: str = "image"  # what the sets have: images, rows or other inputs

    @property
    def differs(self) -> bool:
        """True if the test finds a difference."""
        return self.p_value is not None and self.p_value <= SIGNIFICANT


def two_sets(sets: TwoSets) -> list[str]:
    """Return at most four lines on two sets.

    They say how the pixels of pairs differ, what B is, how far and how surely, what was measured, and which images are
    odd.
    """
    a, b = sets.names
    if sets.is_one_source:
        given = f"the same {sets.noun}s" if a == "A" else a
        return [f"You gave {given} twice: A and B are the same {sets.noun}s."]
    told = sets.told
    pixels = [] if sets.explanation is None else pixels_of_pairs(sets.explanation)
    if told is not None and told.value == 0 and told.distance.unit == "bins":
        return [
            *pixels,
            f"{a} and {b} are 0 bins apart: their histograms are equal, as of the same {sets.noun}s.",
        ]
    likeness = []
    if told is not None or sets.lacks:
        likeness = [f"{line}." for line in _likeness(sets)]
    distance = []
    # The distance of few images is hardly more than noise.
    if told is not None and not (sets.is_few and told.interval is None):
        distance = [f"{_distance(sets, told)}."]
    explanation = None if sets.p_value is None else sets.explanation
    measured = [] if explanation is None else what_was_measured(explanation)
    if sets.most and sets.differs:
        measured.append(f"Most of all in {sets.most}.")
    odd = [] if sets.off is None else _odd(sets, sets.off)
    if len(pixels + likeness + distance + measured + odd) > _MOST_LINES:
        if explanation is not None and (explanation.causes is not None or _has_exact_change(explanation)):
            # The change says better what differs.
            measured = []
        elif sets.copies is not None or (sets.off is not None and sets.off.are_many):
            odd = []
        else:
            likeness = likeness[:1]
    return pixels + likeness + distance + measured + odd


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


def _has_exact_change(explanation: Explanation) -> bool:
    """True if a change of all pixels explains pairs."""
    return explanation.pixels is not None and explanation.pixels.change is not None


def _likeness(sets: TwoSets) -> list[str]:
    a, b = sets.names
    if sets.p_value is None:
        line = f"{b} was not tested against {a}"
        return [f"{line}: {sets.lacks}" if sets.lacks else line]
    alike = ""
    count, total = sets.copies or (0, 0)
    if total:
        noun = sets.noun
        alike = f"{count:,} of {images_in_words(total, noun)} in {b} are near-duplicates of {noun}s in {a}"
    if sets.differs:
        return _what_differs(sets, alike)
    if alike:
        return [f"Not tested: {alike}, but the test needs independent sets. {_INSTEAD}"]
    line = f"No significant difference between {a} and {b}"
    if sets.off is not None and sets.off.named:
        line += " as a whole"
    return [line]


def _what_differs(sets: TwoSets, alike: str) -> list[str]:
    """Return sentences on a significant difference.

    ``alike`` counts the images that both sets share; it is empty if there are few.
    """
    sentences = [] if sets.explanation is None else difference(sets.explanation)
    if sets.explanation is None or sets.explanation.causes is None:
        # Shared images explain the difference better than changes that were searched for in vain.
        unexplained = [] if alike else sentences[1:]
        sentences = [_what_shows_it(sets), *unexplained]
    if alike:
        sentences.append(f"{alike}. {_INSTEAD}")
    return sentences


def _what_shows_it(sets: TwoSets) -> str:
    a, b = sets.names
    is_shown_by_network = sets.p_of_network is not None and sets.p_of_network <= SIGNIFICANT
    if is_shown_by_network or sets.p_of_properties is None:
        return f"{b} differs significantly from {a}"
    differ = f"The {sets.noun} properties of {b} differ significantly from those of {a}"
    return f"{differ}, but the network's activations do not"


def _p_of_answer(sets: TwoSets) -> str:
    """Return the p-value that the answer is judged by, and what it is of if that is not the network alone."""
    p = p_figure(sets.p_value, "p")
    if sets.p_of_properties is not None and p != p_figure(sets.p_of_network, "p"):
        return f"{p}, with properties"
    return p


def _distance(sets: TwoSets, told: Result) -> str:
    interval = told.interval
    name = f"{told.averaging.adjective}{told.distance.name}"
    far = bins_in_words if told.distance.unit == "bins" else partial(number, digits=3)
    p = ""
    is_tested = sets.copies is None or sets.differs
    if sets.p_value is not None and is_tested:
        p = _p_of_answer(sets)
    if interval is None or sets.copies is not None:
        return ", ".join(filter(None, [f"{name}, not debiased: {far(told.value)}", p]))
    if sets.p_value is not None and not sets.differs:
        by_chance = f"{name} is within sampling noise ({p})"
        if interval.high > 0:
            return f"{by_chance}. Distances above {far(interval.high)} are excluded ({interval.ci})"
        return by_chance
    if told.without_shift:
        return f"{told.without_shift[0].upper()}{told.without_shift[1:]} ({p})"
    if not interval.high:
        return f"{name} is below sampling noise ({p})" if p else f"{name} is below sampling noise"
    if not interval.value:
        # A 0 beside a small p would look like no difference.
        return ", ".join(filter(None, [f"Debiased {name}: at most {far(interval.high)} ({interval.ci})", p]))
    return ", ".join(filter(None, [f"Debiased {name}: {far(interval.value)}", interval.in_words, p]))


def _odd(sets: TwoSets, off: Off) -> list[str]:
    """Return the line on a few odd images, or nothing."""
    a, b = sets.names
    # Many odd images without a reason of their own are just the difference between the sets.
    if off.are_many and sets.differs and not any(odd.reason in _REASONS for _, odd in off.named):
        return []
    if off.named and off.is_alone:
        return [_which(off, "the others", f" in {b}", " within the set")]
    if off.named:
        line = _which(off, a, f" in {b}", f" relative to {a}")
        is_caused = sets.explanation is not None and sets.explanation.causes is not None
        if not is_caused:
            return [line]
        # The sentence before this one is about a changed A.
        return [_which(off, a, f" in {b}", f" relative to unchanged {a}")]
    # If the sets differ, the test of a few images adds nothing to that of all.
    if off.maybe and not sets.differs:
        return [_first(f"A small number of {sets.noun}s in {b} may be outliers ({p_figure(off.p_value, 'p')})", off)]
    return []


def flagged_beside_reference(off: Off, reference: str) -> list[str]:
    """Return sentences on the images that a ranking flags as outliers relative to a reference."""
    noun = off.noun
    p = p_figure(off.p_value, "p")
    lines = []
    # The share counts outliers that no test can identify.
    has_more = off.share is not None and len(off.named) < off.share.low * off.total
    if off.share is not None:
        interval = f"95% CI {off.share.low:.0%} to {off.share.high:.0%}"
        lines.append(f"About {off.share.share:.0%} of these {noun}s are outliers ({interval}).")
        if has_more:
            lines.append("Not all of them can be identified one by one.")
    lines += _flagged(off, reference)
    if off.by_test:
        which = "1 of these was" if off.by_test == 1 else f"{off.by_test:,} of these were"
        lines.append(f"{which} flagged by the test for a small number of outliers ({p}).")
    elif off.maybe:
        which = f"Other {noun}s" if off.named else f"Some {noun}s"
        likeliest = ", ".join(off.maybe[:_MOST_SHOWN])
        lines.append(f"{which} may be outliers ({p}). The most unusual: {likeliest}.")
    elif off.p_value is not None and not has_more:
        further = "further outliers" if off.named else "outliers"
        if off.fewest is None:
            lines.append(f"There are too few {noun}s for a test of the others.")
        else:
            lines.append(
                f"No evidence of {further} ({p}). The test can detect {off.fewest:,} or more among {off.total:,}."
            )
    if off.are_many and off.has_properties:
        lines.append(f"So many {noun}s may have been changed in the same way. Use `compare` to find the change.")
    if off.least is not None and not off.by_test:
        single = f"{noun}s of a single {value_of(noun)}"
        lines.append(f"With fewer than {off.least} {noun}s in {reference}, only {single} are flagged one by one.")
    return lines


def flagged_in_folder(off: Off) -> list[str]:
    """Return sentences on the images that are flagged among the others of their set, and what can't be detected."""
    noun = off.noun
    if not off.has_properties:
        return [f"No {noun}s were checked for faults, since properties are only measured of grey and RGB images."]
    lines = _flagged(off, "the others") or [f"No {noun} is flagged."]
    if off.least is not None:
        single = f"those of a single {value_of(noun)}"
        lines.append(f"With fewer than {off.least} {noun}s, only {single} are flagged.")
    elif noun != "image":
        lines.append(
            f"{noun.capitalize()}s of a single value, and {noun}s far beyond all others, are flagged. This check can't"
            f" detect faults that more than a tenth of the {noun}s share, or {UNSEEN[noun]}."
        )
    else:
        lines.append(
            "This check flags images of a single colour, and images far beyond all others in brightness, contrast,"
            " saturation, blur, noise, pixelation or JPEG blocks. It can't detect faults that more than a tenth of the"
            " images share, slight faults, most noise, watermarks, or other content."
        )
    if noun == "image":
        lines.append("A reference of about 16 sound images (`--reference`) reveals more faults.")
    return lines


def _flagged(off: Off, reference: str) -> list[str]:
    """Return how many images are flagged, and a sentence for each reason."""
    if not off.named:
        return []
    verb = "is" if len(off.named) == 1 else "are"
    lines = [f"{len(off.named):,} of {images_in_words(off.total, off.noun)} {verb} flagged as outliers."]
    if len(off.named) == 1:
        lines = [f"1 of {images_in_words(off.total, off.noun)} is flagged as an outlier."]
    by_reason: dict[str, list[str]] = {}
    for name, odd in off.named:
        by_reason.setdefault(odd.reason, []).append(name)
    for reason, names in by_reason.items():
        phrase = _reason(reason, reference, short=False)
        shown = ", ".join(names[:_MOST_SHOWN])
        if len(names) > _MOST_SHOWN:
            shown += f" and {len(names) - _MOST_SHOWN:,} more"
        lines.append(f"{len(names):,} {_in_plural(phrase)}: {shown}." if len(names) > 1 else f"{names[0]} {phrase}.")
    return lines


def extreme_in_words(odd: Odd) -> str:
    """Say in what property or layer an image is most extreme, with its value and the range of the others."""
    name = odd.reason[:-2] if odd.reason[-1:] in ("+", "-") else odd.reason
    record = RECORDS.get(name)
    if record is None:
        value, low, high = (f"{each:.3g}" for each in (odd.value, odd.low, odd.high))
        distance = f"distance in {name}:" if name else "distance"
        return f"{distance} {value} (others {low} to {high})"
    value, low, high = (record.in_words(each) for each in (odd.value, odd.low, odd.high))
    return f"{name} {value} (others {low} to {high})"


def _which(off: Off, reference: str, of_set: str = "", beside: str = "") -> str:
    """Name images in their order with the reasons, as many as a line holds; what more than a quarter are, is counted.

    Beside that, those of one colour or value are named.
    """
    named = off.named
    counted: list[str] = []
    size = images_in_words(off.total, off.noun)
    outliers = "is an outlier" if len(named) == 1 else "are outliers"
    head = f"{len(named):,} of {size}{of_set} {outliers}{beside}"
    reason, most = Counter(odd.reason for _, odd in named).most_common(1)[0]
    if off.are_many and most > 1:
        is_short = reason in _REASONS and (most < len(named) or bool(beside))
        why = _in_plural(_reason(reason, reference, short=is_short))
        if most == len(named):
            all_of_them = f"{most:,} of {size}{of_set} {why}"
            return f"{all_of_them}{beside}." if reason in _REASONS else f"{all_of_them}."
        counted = [f"{most:,} {why}"]
        named = [(name, odd) for name, odd in named if odd.is_fact and odd.reason != reason][:_MOST_OFF]

    def naming(count: int) -> str:
        parts = []
        for why, run in groupby(named[:count], lambda pair: _reason(pair[1].reason, reference, short=True)):
            names = [name for name, _ in run]
            predicate = _in_plural(why) if len(names) > 1 else why
            parts.append(f"{', '.join(names)} {predicate}")
        if count < len(named):
            parts.append(f"and {len(named) - count:,} more")
        return f"{head}: {'; '.join([*parts, *counted])}."

    return _fitted(naming, min(len(named), _MOST_OFF))


def _first(head: str, off: Off) -> str:
    """Name the first images that a test finds."""
    return _fitted(lambda count: f"{head}. The most unusual: {', '.join(off.maybe[:count])}.", _MOST_SHOWN)


def _fitted(line: Callable[[int], str], most: int) -> str:
    """Return a line of as many things as fit, one at least."""
    for count in range(most, 1, -1):
        fitted = line(count)
        if len(fitted) <= _WIDTH:
            return fitted
    return line(1)


def why_off(odd: Odd, reference: str, *, short: bool) -> str:
    """Say why an image is off: its property with that of the reference, or the layer where it is furthest."""
    phrase = _reason(odd.reason, reference, short=short)
    # A reason is a property and a sign.
    name = odd.reason[:-2]
    record = RECORDS.get(name) or NUMBERS.get(name)
    if short or odd.reason not in _REASONS or record is None:
        return phrase
    value, low, high = map(record.in_words, (odd.value, odd.low, odd.high))
    return f"{phrase} ({name} {value}; theirs {low} to {high})"


def _reason(reason: str, reference: str, *, short: bool) -> str:
    """Return what is said of an image for a reason, in short without details."""
    unlike = f"is unlike {{}}, most of all in {reason}" if reason else "is unlike {}"
    phrase = _REASONS.get(reason, unlike)
    if short:
        phrase = re.split(_SHORT, phrase)[0]
    return phrase.format(reference)


def _in_plural(phrase: str) -> str:
    """Return what is said of one image, said of several."""
    verb, _, rest = phrase.partition(" ")
    return f"{_PLURALS[verb]} {rest}"


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
    phrases = [_property(by_name[name]) for name in names[:_MOST_SHOWN]]
    if not phrases:
        return []
    a, b = explanation.names
    are_several = any(each.theirs is not None for each in explanation.properties)
    head = f"Properties that differ most in {b}: " if are_several else f"Properties that differ most ({a} → {b}): "
    return [_fitted(lambda count: f"{head}{', '.join(phrases[:count])}.", _MOST_SHOWN)]


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


class HeldOut(NamedTuple):
    """A set beside the set of held-out images."""

    name: str
    held_out: str
    ratio: Ratio | None  # times as far from the reference as these; None where that can't be said
    num_sets: int  # number of sets, for which p-values are corrected
    sharing: Sequence[str] = ()  # names of those of both that share images with the reference
    # Corrected p-values of the tests of this set and of the held-out one against the reference.
    p_values: tuple[float | None, float | None] = (None, None)
    further: float | None = None  # p-value that it is further than these; None where a ratio says it, or unknown
    further_in_any: float | None = None  # p-value that it is further in a layer, a neuron or a property
    furthest_in: str | None = None  # layer, neuron or property where this is clearest; None if none by itself
    property_ratio: Ratio | None = None  # times as far in image properties; None where that can't be said
    main_property: str | None = None  # property in which it is farthest from the reference


class OneSet(NamedTuple):
    """One of several sets."""

    name: str
    figure: str  # its distance from the reference, without noise if that is known
    shares_images: bool  # whether it has images of the reference
    p_value: float | None  # corrected p-value that the nearest set is nearer than this one; None without a test


class SeveralSets(NamedTuple):
    """Sets against one reference."""

    reference: str
    distance: str  # name of that which gives the order
    sets: Sequence[OneSet]  # the nearest first, without the held-out one
    equal: Sequence[str]  # names of sets whose images are the reference's own
    held_out: HeldOut | None  # the nearest of the others beside the held-out one
    p_values: Mapping[str, float]  # corrected p-values of the tests of sets against the reference
    noun: str = "image"  # what the sets have: images, rows or other inputs


def several_sets(of: SeveralSets) -> list[str]:
    """Return lines: which set is nearest and how surely, and how far it is beside held-out images."""
    if of.held_out is None:
        return _nearest(of)
    lines = _beside_held_out(of.held_out, of.reference, of.noun)
    is_one = len(of.sets) + len(of.equal) == 1
    answers = of.held_out.ratio is not None or (_none_differs(of) and not of.held_out.sharing)
    if not (is_one and answers):
        lines = [*_nearest(of), *lines]
    return lines[:_MOST_LINES]


def _none_differs(of: SeveralSets) -> bool:
    """True if no set is shown to differ from the reference, and all have a valid test."""
    return min(of.p_values.values(), default=0) > SIGNIFICANT and not any(each.shares_images for each in of.sets)


def _nearest(of: SeveralSets) -> list[str]:
    lines: list[str] = []
    if of.equal:
        lines.append(f"{', '.join(of.equal)} and {of.reference} have the same {of.noun}s ({of.distance} 0).")
    if not of.sets:
        return lines
    best, *rest = of.sets
    if _none_differs(of):
        least = min(of.p_values.values())
        if rest:
            p = p_figure(least, "smallest Holm p")
            return [*lines, f"None {_of_sets(of)} differs significantly from {of.reference} ({p})."]
        return [*lines, f"{best.name} does not differ significantly from {of.reference} ({p_figure(least, 'p')})."]
    figure = f"{of.distance} {best.figure}"
    sharing = next((each.name for each in of.sets[:2] if each.shares_images), None)
    alike = "" if sharing is None else f"{sharing} shares {of.noun}s with {of.reference}, or has some nearly alike"
    if not rest:
        only = f"The only other set is {best.name}" if of.equal else f"{best.name} is the only set"
        lines.append(f"{only} ({figure}).")
        if alike:
            lines.append(f"{alike}.")
        return lines
    nearest = f"{best.name} is closest to {of.reference} ({figure})."
    lines.append(f"Of the others, {nearest}" if of.equal else nearest)
    if alike:
        lines.append(f"This order was not tested, because {alike}.")
    else:
        lines.append(_how_surely(rest, of.noun))
    lines += _which_differ(of)
    return lines


def _of_sets(of: SeveralSets) -> str:
    """Return the end of a number of sets: "of 3 sets", or "of 3 other sets" after those that are the reference."""
    return f"of {len(of.sets)} other sets" if of.equal else f"of {len(of.sets)} sets"


def _which_differ(of: SeveralSets) -> list[str]:
    """Return the line on the sets that differ from the reference, if the nearest is not shown to; else nothing."""
    different = [name for name, p in of.p_values.items() if p <= SIGNIFICANT]
    if not different or of.p_values.get(of.sets[0].name, 0) <= SIGNIFICANT:
        return []
    if of.held_out is not None and of.held_out.sharing:
        return []
    largest = max(of.p_values[name] for name in different)
    if len(different) == 1:
        verb = "differs"
        p = p_figure(largest, "Holm p")
    else:
        verb = "differ"
        p = f"Holm p ≤ {max(largest, LEAST_P):.2g}"
    head = f"{len(different)} {_of_sets(of)} {verb} significantly from {of.reference} ({p})"

    def naming(count: int) -> str:
        names = ", ".join(different[:count])
        return f"{head}: {names}." if count == len(different) else f"{head}, such as {names}."

    return [_fitted(naming, min(len(different), _MOST_SHOWN))]


def _how_surely(rest: Sequence[OneSet], noun: str) -> str:
    """Return the sentence on the test that the nearest set is nearer than the next one."""
    second = rest[0]
    if second.p_value is None:
        return f"This order was not tested, because there are no folds of {noun}s."
    p = p_figure(second.p_value, "p")
    if second.p_value <= SIGNIFICANT:
        return f"It is significantly closer than {second.name} ({p})."
    num_others = sum((each.p_value or 0) > SIGNIFICANT for each in rest) - 1
    ties = second.name
    if num_others == 1:
        ties += " and 1 other"
    elif num_others > 1:
        ties += f" and {num_others} others"
    return f"It is not significantly closer than {ties} ({p})."


def _beside_held_out(of: HeldOut, reference: str, noun: str) -> list[str]:
    """Return lines: whether a set and the held-out one differ from the reference, and how many times as far it is."""
    # A set that is named after what it is, such as "held_out/", is not called "the held-out held_out/".
    is_named_so = re.fullmatch("(?i)held.?out/?", of.held_out) is not None
    held_out = f"the held-out {noun}s" if is_named_so else f"the held-out {of.held_out}"
    if of.sharing:
        why = f"{reference} shares {noun}s with {' and '.join(of.sharing)}, or has some nearly alike."
        return [f"{of.name} was not compared with {held_out}.", why]
    lines = _which_of_two_differ(of, reference)
    p, p_held_out = of.p_values
    differs = p is not None and p_held_out is not None and p <= SIGNIFICANT
    is_further = differs and of.further is not None and of.further <= SIGNIFICANT
    is_further_in_any = differs and of.further_in_any is not None and of.further_in_any <= SIGNIFICANT
    if of.ratio is not None and of.ratio.is_told:
        lines.append(f"{of.name} is {_times_as_far(of.ratio)} from {reference} as {held_out}{of.ratio.ends}.")
    elif of.property_ratio is not None and of.property_ratio.is_told:
        ratio = of.property_ratio
        lines.append(
            f"In {noun} properties, {of.name} is {ratio.in_words} times as far from {reference} as {held_out}"
            f"{ratio.ends}, mostly in {of.main_property}."
        )
    elif is_further:
        p_further = p_figure(of.further, "p")
        farther = f"{of.name} is significantly farther from {reference} than {held_out} ({p_further})."
        lines.append(f"{farther} There are too few {noun}s to estimate the ratio.")
    elif is_further_in_any:
        where = of.furthest_in or "some layer or property"
        p_further = p_figure(of.further_in_any, "p")
        lines.append(f"In {where}, {of.name} is significantly farther from {reference} than {held_out} ({p_further}).")
    elif not lines:
        lines.append(f"{of.name} was not tested against {held_out}, because there are no folds.")
    elif differs:
        lines.append(
            f"There are too few {noun}s to test whether {of.name} is farther from {reference} than {held_out}."
        )
    if p_held_out is not None and p_held_out <= SIGNIFICANT:
        verb = "differ" if is_named_so else "differs"
        lines.append(f"T{held_out[1:]} {verb} from {reference}, too, so other sets look too close in comparison.")
    return lines


def _which_of_two_differ(of: HeldOut, reference: str) -> list[str]:
    """Return the line on whether a set and the held-out one differ from the reference; nothing without tests."""
    p, p_held_out = of.p_values
    if p is None or p_held_out is None:
        return []
    first = of.name
    p_first = p
    second = of.held_out
    p_second = p_held_out
    if p > SIGNIFICANT and p_held_out <= SIGNIFICANT:
        # The one that differs comes first.
        first, p_first, second, p_second = second, p_second, first, p_first
    label = "Holm p" if of.num_sets > 1 else "p"
    of_first = p_figure(p_first, label)
    of_second = p_figure(p_second, label)
    if p_first > SIGNIFICANT:
        return [f"Neither {first} ({of_first}) nor {second} ({of_second}) differs significantly from {reference}."]
    if p_second > SIGNIFICANT:
        return [f"{first} differs significantly from {reference} ({of_first}). {second} does not ({of_second})."]
    return [f"{first} ({of_first}) and {second} ({of_second}) differ significantly from {reference}."]


def _times_as_far(ratio: Ratio) -> str:
    """Return a ratio in words; "1 times as far" is "as far"."""
    if ratio.in_words == "1":
        return "as far"
    if ratio.in_words == "at least 1":
        return "at least as far"
    return f"{ratio.in_words} times as far"


def classes(count: int, num_different: int | None, furthest: str, figure: str) -> str:
    """Say how many classes differ, None without a test, and which of these, or of all, is furthest."""
    if num_different is None:
        return f"The largest difference of {count} classes is in {furthest} ({figure}). No class was tested."
    if not num_different:
        return f"None of {count} classes differs significantly (q ≤ {SIGNIFICANT:g})."
    verb = "differs" if num_different == 1 else "differ"
    answer = f"{num_different} of {count} classes {verb} significantly (q ≤ {SIGNIFICANT:g})."
    return f"{answer} The largest difference is in {furthest} ({figure})."


@dataclass(frozen=True)
class OddSets:
    """Those of several sets that differ from the others together.

    Attributes:
        num_sets: Number of the sets.
        p_value: P-value of the test that any differs; None without a test.
        odd: Sets that differ, by name, with the p-values by which each was named; empty if none is shown to, and if
            more than a quarter do.
        p_of_rest: P-value of the test that any of the rest differs; None if no set is named.
        properties: Properties of the first of these that are beyond those of each other set, the clearest first.
        lacks: What a test lacks; empty if there is one.

    """

    num_sets: int
    p_value: float | None = None
    odd: Mapping[str, float] = field(default_factory=dict)
    p_of_rest: float | None = None
    properties: Sequence[PropertyDifference] = ()
    lacks: str = ""

    def __post_init__(self) -> None:
        # Those that were read from a file are lists.
        object.__setattr__(self, "properties", [PropertyDifference(*each) for each in self.properties])

    def to_dict(self) -> dict[str, Any]:
        """Return all in plain types, ready for json."""
        properties = [each._asdict() | {"theirs": each.theirs and list(each.theirs)} for each in self.properties]
        return asdict(self) | {"properties": properties}


def all_sets(of: OddSets) -> list[str]:
    """Return lines: which sets differ from the others together, and what was measured of the first."""
    if of.p_value is None:
        return [f"The sets were not tested for outliers: {of.lacks}."]
    p = p_figure(of.p_value, "p")
    if not of.odd and of.p_value > SIGNIFICANT:
        return [f"None of {of.num_sets} sets differs significantly from the others together ({p})."]
    if not of.odd:
        return [
            f"The {of.num_sets} sets differ significantly ({p}).",
            "More than one of them does, so no set can be named.",
        ]

    num_others = of.num_sets - len(of.odd)

    def naming(count: int) -> str:
        names = [*of.odd][:count]
        if count < len(of.odd):
            names.append(f"{len(of.odd) - count} more")
        if len(names) == 1:
            differ = f"{names[0]} differs significantly from the other {num_others} sets together"
        else:
            together = f"the other {num_others} sets together"
            differ = f"{', '.join(names[:-1])} and {names[-1]} differ significantly from {together}"
        return f"{differ} ({p}). No other set does."

    explanation = Explanation(of.p_value, [*of.properties], names=("the others", next(iter(of.odd))))
    return [_fitted(naming, len(of.odd)), *what_was_measured(explanation)]


def versions(
    before: int,
    now: int,
    *,
    added: int,
    removed: int,
    renamed: int,
    edited: int,
    far: str | None = None,
    noun: str = "image",
) -> list[str]:
    """Say how many images changed between two versions of a data set, and how far they are apart."""
    same = before - removed - edited
    head = f"{images_in_words(before, noun)} before, {images_in_words(now, noun)} now: {same:,} the same"
    lines = [f"{head}, {added:,} added, {removed:,} removed."]
    if renamed:
        lines.append(f"{images_in_words(renamed, noun)} renamed.")
    if edited:
        changed = "pixels" if noun == "image" else "values"
        lines.append(f"{images_in_words(edited, noun)} edited (same name, different {changed}).")
    if far is not None:
        lines.append(f"Distance between the two versions: {far}, not debiased.")
    return lines


def how_far(value: float, unit: str, distance: str) -> str:
    """Return a figure: how far two versions, or parts of them, are apart."""
    figure = f"{distance} {number(value, 3)}"
    return f"{figure} {unit}" if unit else figure


def against_kept(what: str, far: str, p_value: float | None, lacks: str, noun: str = "image") -> list[str]:
    """Say whether images that were added or removed differ from those that both versions have."""
    if p_value is None:
        apart = f"Distance between {noun}s {what} and those kept: {far}, not debiased."
        return [apart, f"Not tested: {lacks}."] if lacks else [apart]
    differ = "differ significantly" if p_value <= SIGNIFICANT else "do not differ significantly"
    return [f"{noun.capitalize()}s {what} {differ} from those kept ({far}, {p_figure(p_value, 'p')})."]
