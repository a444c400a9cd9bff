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

from torchmetrics_dna.files.visible import bins_in_words, images_in_words, number, p_figure
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

_WIDTH = 100  # characters of a line, if names of sets and images have 12 at most
_MOST_LINES = 4
_MOST_SHOWN = 3  # properties, and images that a test finds, which a line names at most
_MOST_OFF = 5  # odd images
SAID_OF_SET = 0.25  # of images that are odd, above which it is said of the set
#: Faults that no property or number shows, by what was judged.
UNSEEN = {"image": "most noise, watermarks, other content", "row": "other content", "input": "a flipped or rotated one"}
_MUCH = 0.25  # of the distance, which a cause leaves
_MIN_SHIFT = 0.2  # standard deviations between means, for a property to be called higher or lower
_INSTEAD = "use `diff` or `pairs=` (`--pairs name`)"  # of a test of independent images
_FILES = " files"  # the end of the names of shares of formats
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
_SHORT = ", |; | than any of"  # what ends a reason after words that name the reference
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
    p_value: float | None  # of the test of a few of the others; None if there are none
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
    told: Result | None  # of dna-emd, or else of the first distance with a test; None if there is none
    p_value: float | None  # of the test for any difference, by network and properties; None without one
    p_of_network: float | None
    p_of_properties: float | None  # None if properties of images were not measured or tested
    is_one_source: bool
    copies: tuple[int, int] | None  # so many, of all in B, that the sets are no independent samples
    lacks: str  # why there is no test
    is_few: bool  # so few images or groups that it is for want of these
    explanation: Explanation | None
    off: Off | None  # images of B that are unlike A; None if that was not asked
    most: str  # where inputs that are no images differ most, in words
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
    likeness = [] if told is None and not sets.lacks else _likeness(sets)
    # of few images the distance is hardly more than noise
    distance = [] if told is None or (sets.is_few and told.interval is None) else [_distance(sets, told)]
    likeness, distance = ([f"{line}." for line in part] for part in (likeness, distance))
    explanation = None if sets.p_value is None else sets.explanation
    measured = [] if explanation is None else what_was_measured(explanation)
    measured += [f"Most of all in {sets.most}."] * bool(sets.most and sets.differs)
    odd = [] if sets.off is None else _odd(sets, sets.off)
    if len(pixels + likeness + distance + measured + odd) > _MOST_LINES:
        if explanation is not None and (explanation.causes is not None or _has_exact_change(explanation)):
            # The change says better what differs.
            measured = []
        elif sets.copies is not None:
            odd = []
        else:
            likeness = likeness[:1]
    return pixels + likeness + distance + measured + odd


def pixels_of_pairs(explanation: Explanation) -> list[str]:
    """Return lines on the pixels of pairs: how many pairs differ, by how much, and the change that explains this."""
    pixels, (a, b) = explanation.pixels, explanation.names
    if pixels is None:
        return []
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
    if pixels.num_unequal == 1:
        pairs, verb = "the one pair", "differs"
    elif pixels.num_explained == pixels.num_unequal:
        pairs, verb = f"all {pixels.num_unequal:,} pairs", "differ"
    else:
        pairs, verb = f"{pixels.num_explained:,} of {pixels.num_unequal:,} pairs", "differ"
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
        return [f"{b} was not tested against {a}{sets.lacks and f': {sets.lacks}'}"]
    count, total = sets.copies or (0, 0)
    alike = f"{count:,} of {images_in_words(total, sets.noun)} of {b} look like {a}'s" * bool(total)
    if sets.differs:
        sentences = [] if sets.explanation is None else difference(sets.explanation)
        if sets.explanation is None or sets.explanation.causes is None:
            sentences = [_what_shows_it(sets), *([] if alike else sentences[1:])]
        sentences += [f"{alike}: {_INSTEAD}"] * bool(alike)
        return sentences if len(line := ". ".join(sentences)) >= _WIDTH else [line]
    if alike:
        line = f"Not tested: {alike}: {_INSTEAD}"
        return [line] if len(line) < _WIDTH else [f"Not tested: {alike}", _INSTEAD.capitalize()]
    return [f"No difference is shown between {a} and {b}{' as a whole' * bool(sets.off and sets.off.named)}"]


def _what_shows_it(sets: TwoSets) -> str:
    (a, b), by_network = sets.names, sets.p_of_network is not None and sets.p_of_network <= SIGNIFICANT
    if by_network or sets.p_of_properties is None:
        return f"{b} differs from {a}"
    return f"Properties of {a} and {b} differ; the network alone shows no difference"


def _p_of_answer(sets: TwoSets) -> str:
    """Return the p-value that the answer is judged by, and what it is of if that is not the network alone."""
    p, of_network = (p_figure(each, "p") for each in (sets.p_value, sets.p_of_network))
    return f"{p}{' with properties' * (p != of_network and sets.p_of_properties is not None)}"


def _distance(sets: TwoSets, told: Result) -> str:
    interval, name = told.interval, f"{told.averaging.adjective}{told.distance.name}"
    far = bins_in_words if told.distance.unit == "bins" else partial(number, digits=3)
    p = "" if sets.p_value is None or (sets.copies is not None and not sets.differs) else _p_of_answer(sets)
    if interval is None or sets.copies is not None:
        return f"{name}: {far(told.value)}, noise included{p and f' ({p})'}"
    if sets.p_value is not None and not sets.differs:
        most = f"; over {far(interval.high)} is excluded ({interval.level})"
        return f"No more than chance at this size ({p}){most * (interval.high > 0)}"
    if told.without_shift:
        return f"{told.without_shift[0].upper()}{told.without_shift[1:]} ({p})"
    without_noise, sure = far(interval.value), interval.in_words
    if not interval.value:
        without_noise, sure = f"at most {far(interval.high)}", f"{interval.level} interval"
    if not interval.high:
        without_noise, sure = "below noise", ""
    return f"{name} without noise: {without_noise} ({'; '.join(filter(None, (sure, p)))})"


def _odd(sets: TwoSets, off: Off) -> list[str]:
    """Return the line on a few odd images, or nothing."""
    a, b = sets.names
    if off.are_many and sets.differs and not any(odd.reason in _REASONS for _, odd in off.named):
        return []  # which says no more than that the sets differ
    if off.named:
        if off.is_alone:
            return [_which(off, "its others", f" of {b}", " beside its others")]
        is_caused = sets.explanation is not None and sets.explanation.causes is not None
        return [_fitted(lambda n: _which(off, a, f" of {b}", f" beside unchanged {a}" * (n > 1)), 1 + is_caused)]
    if off.maybe and not sets.differs:  # of others it says no more than the test of all
        return [_first(f"A few {sets.noun}s of {b} may be odd ({p_figure(off.p_value, 'p')})", off)]
    return []


def flagged_beside_reference(off: Off, reference: str) -> list[str]:
    """Return sentences on the images that a ranking flags as outliers relative to a reference."""
    noun, p = off.noun, p_figure(off.p_value, "p")
    lines = []
    if off.share is not None:
        interval = f"95% CI {off.share.low:.0%} to {off.share.high:.0%}"
        lines.append(f"About {off.share.share:.0%} of these {noun}s are outliers ({interval}).")
    lines += _flagged(off, reference)
    if off.by_test:
        which = "1 of these was" if off.by_test == 1 else f"{off.by_test:,} of these were"
        lines.append(f"{which} flagged by the test for a small number of outliers ({p}).")
    elif off.maybe:
        which = f"Other {noun}s" if off.named else f"Some {noun}s"
        likeliest = ", ".join(off.maybe[:_MOST_SHOWN])
        lines.append(f"{which} may be outliers ({p}). The most unusual: {likeliest}.")
    elif off.p_value is not None:
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
    named, counted = off.named, list[str]()
    verb = "is" if len(named) == 1 else "are"
    size = images_in_words(off.total, off.noun)
    head = f"{len(named):,} of {size}{of_set} {verb} odd{beside}"
    reason, most = Counter(odd.reason for _, odd in named).most_common(1)[0]
    if off.are_many and most > 1:
        is_short = reason in _REASONS and (most < len(named) or bool(beside))
        why = _in_plural(_reason(reason, reference, short=is_short))
        if most == len(named):
            return f"{most:,} of {size}{of_set} {why}{beside * (reason in _REASONS)}."
        counted = [f"{most:,} {why}"]
        named = [(name, odd) for name, odd in named if odd.is_fact and odd.reason != reason][:_MOST_OFF]

    def naming(count: int) -> str:
        parts = []
        for why, run in groupby(named[:count], lambda pair: _reason(pair[1].reason, reference, short=True)):
            names = [name for name, _ in run]
            parts.append(f"{', '.join(names)} {_in_plural(why) if len(names) > 1 else why}")
        parts += [f"and {len(named) - count:,} more"] * (count < len(named))
        return f"{head}: {'; '.join([*parts, *counted])}."

    return _fitted(naming, min(len(named), _MOST_OFF))


def _first(head: str, off: Off) -> str:
    """Name the first images that a test finds."""
    return _fitted(lambda count: f"{head}, first of all {', '.join(off.maybe[:count])}.", _MOST_SHOWN)


def _fitted(line: Callable[[int], str], most: int) -> str:
    """Return a line of as many things as fit, one at least."""
    return next((line(count) for count in range(most, 1, -1) if len(line(count)) <= _WIDTH), line(1))


def why_off(odd: Odd, reference: str, *, short: bool) -> str:
    """Say why an image is off: its property with that of the reference, or the layer where it is furthest."""
    phrase, name = _reason(odd.reason, reference, short=short), odd.reason[:-2]
    record = RECORDS.get(name) or NUMBERS.get(name)
    if short or odd.reason not in _REASONS or record is None:
        return phrase
    value, low, high = map(record.in_words, (odd.value, odd.low, odd.high))
    return f"{phrase} ({name} {value}; theirs {low} to {high})"


def _reason(reason: str, reference: str, *, short: bool) -> str:
    """Return what is said of an image for a reason, in short without details."""
    phrase = _REASONS.get(reason, f"is unlike {{}}{reason and f', most of all in {reason}'}")
    return (re.split(_SHORT, phrase)[0] if short else phrase).format(reference)


def _in_plural(phrase: str) -> str:
    """Return what is said of one image, said of several."""
    verb, _, rest = phrase.partition(" ")
    return f"{_PLURALS[verb]} {rest}"


def difference(explanation: Explanation) -> list[str]:
    """Return clauses: do the sets differ, and what change of A comes near to B? None if no test was made."""
    (a, b), causes = explanation.names, explanation.causes
    if explanation.differs is None:
        return []
    if not explanation.differs:
        return [f"No difference is shown between {a} and {b}"]
    if explanation.colourless is not None and (causes is None or causes.names == ("less saturation",)):
        of_a, of_b, total = explanation.colourless
        grey = f"{of_b:,} of {images_in_words(total)} have no colour, {of_a or 'none'} of {a}"
        return [f"{b} differs from {a}", grey]
    if causes is None:
        differs = f"{b} differs from {a}"
        return [differs, _unexplained(explanation)] if explanation.is_searched else [differs]
    share = causes.bins[-1] / causes.bins[0]
    looks = f"{b} looks {'more ' * bool(share)}like"
    left = f"{f'{100 * share:.0f} % of the distance' if share else 'no difference'} is left"
    for so_changed in ("so changed, ", ""):
        if len(clause := f"{looks} {a}, {causes.in_words}: {so_changed}{left}") < _WIDTH:
            return [clause]
    return [f"{looks} {a} once changed: {left}", f"Changed: {causes.in_words}"]


def _unexplained(explanation: Explanation) -> str:
    """Return a clause on changes that were searched for, of which none is shown to explain the difference."""
    if explanation.guess is not None:
        return f"Perhaps {explanation.guess.in_words}; too few images to tell"
    if explanation.paired and explanation.is_rejected:
        return "Of the changes tried, none explains it"
    if explanation.paired:
        # The pairs show the same, so what differs is measured in the next line, and more pairs would not say it better.
        return "None of the changes tried is shown to explain it"
    if explanation.is_rejected:
        return "Of the changes tried, none explains it: they may show other things"
    return "Too few images to tell why: a change, or other things"


def what_was_measured(explanation: Explanation) -> list[str]:
    """Return the sentence on the plainest properties of images that differ, or nothing."""
    by_name = {each.name: each for each in explanation.properties}
    if any(each.effect > 0 for name, each in by_name.items() if name.endswith(_FILES)):  # fewer of others say no more
        by_name = {name: each for name, each in by_name.items() if not name.endswith(_FILES) or each.effect > 0}
    if "width" in by_name:
        by_name.pop("height", None)
    fits, causes = moved_by(explanation.guess), explanation.causes
    # where a named cause leaves much, what it moves itself comes after other plain ones
    explained = moved_by(causes) if causes is not None and causes.bins[-1] > _MUCH * causes.bins[0] else []
    order = [*(name for name in PLAIN if name not in explained), *explained, *by_name]

    def rank(name: str) -> tuple[bool, bool, int]:
        return name not in fits, not by_name[name].direction, order.index(name)

    names = sorted(by_name, key=rank)
    phrases = [_property(by_name[name]) for name in names[:_MOST_SHOWN]]
    head = f"Measured in {explanation.names[1]}: "
    return [_fitted(lambda count: f"{head}{', '.join(phrases[:count])}.", _MOST_SHOWN)] if phrases else []


def moved_by(causes: Causes | None) -> list[str]:
    """Return the property of images that each change moves most plainly."""
    return [] if causes is None else [CHANGES[name].moves[:-2] for name in causes.names]


def _property(of: PropertyDifference) -> str:
    if not of.direction:
        return f"{'more' if of.spread_b > of.spread_a else 'less'} varied {of.name}"
    comparatives = ("more", "fewer") if of.name.endswith("s") and not of.name.endswith("ss") else ("higher", "lower")
    if of.name in ("width", "height"):
        comparatives = "larger", "smaller"
    values = (of.a, of.b) if of.theirs is None else (of.b, *of.theirs)
    ends = [[property_in_words(of.name, value, digits) for value in values] for digits in (2, 3)]
    first, *others = ends[ends[0][0] in ends[0][1:]]
    figures = " to ".join((first, *others) if of.theirs is None else dict.fromkeys(others))
    return f"{comparatives[of.direction < 0]} {of.name} ({f'{first}; theirs ' * (of.theirs is not None)}{figures})"


def what_differs(explanation: Explanation) -> str:
    """Return the explanation as a text."""
    clauses, sentences = difference(explanation), what_was_measured(explanation)
    pixels = pixels_of_pairs(explanation)
    if clauses:
        clauses[0] += f" ({p_figure(explanation.p_value, 'p')})"
    how = f"Not tested: {explanation.lacks}." if explanation.lacks else "`num_folds=20` gives a test."
    sentences += [f"{explanation.unmeasured}."] * bool(explanation.unmeasured)
    sentences += [how] * (not clauses and (bool(explanation.lacks or explanation.unmeasured) or not sentences))
    return " ".join([*pixels, *(f"{clause}." for clause in clauses), *sentences])


class HeldOut(NamedTuple):
    """A set beside the set of held-out images."""

    name: str
    held_out: str
    ratio: Ratio | None  # times as far from the reference as these; None where that can't be said
    num_sets: int  # for whose number p-values are corrected
    sharing: Sequence[str] = ()  # of both, the sets that share images with the reference
    p_values: tuple[float | None, float | None] = (None, None)  # of both: does it differ from the reference? Corrected
    further: float | None = None  # p-value that it is further than these; None where a ratio says it, or unknown
    further_in_any: float | None = None  # the same in a layer, a neuron or a property, of which there is any
    furthest_in: str | None = None  # which of these it is most clearly; None if none by itself
    property_ratio: Ratio | None = None  # times as far in image properties; None where that can't be said
    main_property: str | None = None  # property in which it is farthest from the reference


class OneSet(NamedTuple):
    """One of several sets."""

    name: str
    figure: str  # its distance from the reference, without noise if that is known
    shares_images: bool  # with the reference
    p_value: float | None  # that the nearest set is nearer than this one, corrected; None without a test


class SeveralSets(NamedTuple):
    """Sets against one reference."""

    reference: str
    distance: str  # name of that which gives the order
    sets: Sequence[OneSet]  # the nearest first, without the held-out one
    equal: Sequence[str]  # names of sets whose images are the reference's own
    held_out: HeldOut | None  # the nearest of the others beside the held-out one
    p_values: Mapping[str, float]  # of the sets that were tested: does it differ from the reference? Corrected
    noun: str = "image"  # what the sets have: images, rows or other inputs


def several_sets(of: SeveralSets) -> list[str]:
    """Return lines: which set is nearest and how surely, and how far it is beside held-out images."""
    if of.held_out is None:
        return _nearest(of)
    says_it = of.held_out.ratio is not None or (_none_differs(of) and not of.held_out.sharing)
    lines = [] if says_it and len(of.sets) + len(of.equal) == 1 else _nearest(of)
    return [*lines, *_beside_held_out(of.held_out, of.reference, of.noun)][:_MOST_LINES]


def _none_differs(of: SeveralSets) -> bool:
    """True if no set is shown to differ from the reference, and all have a valid test."""
    return min(of.p_values.values(), default=0) > SIGNIFICANT and not any(each.shares_images for each in of.sets)


def _nearest(of: SeveralSets) -> list[str]:
    lines: list[str] = []
    if of.equal:
        lines.append(f"{', '.join(of.equal)}: the same {of.noun}s as {of.reference}, {of.distance} 0.")
    if not of.sets:
        return lines
    (best, *rest), more = of.sets, list[str]()
    different = [name for name, p in of.p_values.items() if p <= SIGNIFICANT]
    of_sets = f"of {len(of.sets)} {'other ' * bool(of.equal)}sets"
    if _none_differs(of):
        none, p = f"{best.name} is not", p_figure(min(of.p_values.values()), "p")
        if rest:
            none, p = f"None {of_sets} is", p_figure(min(of.p_values.values()), "least Holm p")
        return [*lines, f"{none} shown to differ from {of.reference} ({p})."]
    if different and not (of.held_out and of.held_out.sharing) and of.p_values.get(best.name, 0) > SIGNIFICANT:
        is_one, p = len(different) == 1, p_figure(max(of.p_values[name] for name in different), "Holm p")
        head = f"{len(different)} {of_sets} {'is' if is_one else 'are'} shown to differ from {of.reference}"
        head += f" ({p if is_one else p.replace('=', '≤')})"
        ends = [f"{', such as' if different[n:] else ':'} {', '.join(different[:n])}." for n in range(_MOST_SHOWN + 1)]
        more = [_fitted(lambda count: head + ends[count], min(len(different), _MOST_SHOWN))]
    figure = f"{of.distance} {best.figure}"
    shares = [each.name for each in of.sets[:2] if each.shares_images][:1]
    alike = [f"{name} shares {of.noun}s with {of.reference}, or has some nearly alike" for name in shares]
    if not rest:
        only = f"The only other set is {best.name}" if of.equal else f"{best.name} is the only set"
        return [*lines, f"{only}, {figure}.", *(f"{why}." for why in alike)]
    second = rest[0]
    if alike:
        surely = f"How surely can't be said: {alike[0]}."
    elif second.p_value is None:
        surely = f"Without folds of {of.noun}s nobody knows how surely."
    elif second.p_value <= SIGNIFICANT:
        surely = f"It is nearer than {second.name} ({p_figure(second.p_value, 'p')})."
    else:
        count = sum((each.p_value or 0) > SIGNIFICANT for each in rest) - 1
        ties = f"{second.name} and {count} other{'s' * (count > 1)}" if count else second.name
        surely = f"It is not surely nearer than {ties} ({p_figure(second.p_value, 'p')})."
    others = "Of the others, " * bool(of.equal)
    return [*lines, f"{others}{best.name} is nearest to {of.reference} ({figure}).", surely, *more]


def _beside_held_out(of: HeldOut, reference: str, noun: str) -> list[str]:
    """Return lines: whether a set and the held-out one differ from the reference, and how many times as far it is."""
    called = re.sub("(?i)^held.?out/?$", f"{noun}s", of.held_out)
    held_out, lines, differs = f"the held-out {called}", list[str](), False
    if of.sharing:
        why = f"{reference} shares {noun}s with {' and '.join(of.sharing)}, or has some nearly alike."
        return [f"How far {of.name} is beside {held_out} can't be said.", why]
    p, p_held_out = of.p_values
    if p is not None and p_held_out is not None:
        differs, too = p <= SIGNIFICANT, p_held_out <= SIGNIFICANT
        pairs = zip((of.name, of.held_out), (p, p_held_out), strict=True)
        (x, of_x), (y, of_y) = sorted(pairs, key=lambda pair: pair[1] > SIGNIFICANT)
        how_many = [
            f"Neither {x} nor {y} is shown to differ from {reference}",
            f"{x} differs from {reference}, {y} is not shown to",
            f"{x} and {y} differ from {reference}",
        ]
        shown = f"{p_figure(of_x, 'Holm p' if of.num_sets > 1 else 'p')}, {p_figure(of_y)}"
        lines.append(f"{how_many[differs + too]} ({shown}).")
    is_further, in_any = [differs and p is not None and p <= SIGNIFICANT for p in (of.further, of.further_in_any)]
    if of.ratio is not None and of.ratio.is_told:
        far = f"{of.ratio.in_words} times as far".replace("least 1 times", "least").removeprefix("1 times ")
        lines.append(f"{of.name} is {far} from {reference} as {held_out}{of.ratio.ends}.")
    elif of.property_ratio is not None and of.property_ratio.is_told:
        ratio = of.property_ratio
        lines.append(
            f"In image properties, {of.name} is {ratio.in_words} times as far from {reference} as {held_out}"
            f"{ratio.ends}, mostly in {of.main_property}."
        )
    elif is_further:
        how = f"how many times can't be said ({p_figure(of.further, 'p')})"
        lines.append(f"{of.name} is further than {held_out}; {how}.")
    elif in_any:
        where, in_any_of = of.furthest_in or "some layer or property", p_figure(of.further_in_any, "p")
        lines.append(f"In {where} {of.name} is further than {held_out} ({in_any_of}).")
    elif differs or not lines:  # of what is not shown to differ, nothing more can be told
        why = f"from so few {noun}s" if lines else "without folds"
        lines.append(f"Whether {of.name} is further than {held_out} can't be told {why}.")
    if p_held_out is not None and p_held_out <= SIGNIFICANT:
        lines.append(f"Beside {held_out}, which differs itself, others look too near.")
    return lines


def classes(count: int, num_different: int | None, furthest: str, figure: str) -> str:
    """Say how many classes differ, None without a test, and which of these, or of all, is furthest."""
    if num_different is None:
        return f"Of {count} classes, {furthest} is furthest ({figure})."
    if not num_different:
        return f"Of {count} classes, none differs by more than chance (q ≤ {SIGNIFICANT:g})."
    differ = f"{num_different} differ{'s' * (num_different == 1)} (q ≤ {SIGNIFICANT:g})"
    return f"Of {count} classes, {differ}, {furthest} most ({figure})."


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
        object.__setattr__(self, "properties", [PropertyDifference(*each) for each in self.properties])  # of a file

    def to_dict(self) -> dict[str, Any]:
        """Return all in plain types, ready for json."""
        properties = [each._asdict() | {"theirs": each.theirs and list(each.theirs)} for each in self.properties]
        return asdict(self) | {"properties": properties}


def all_sets(of: OddSets) -> list[str]:
    """Return lines: which sets differ from the others together, and what was measured of the first."""
    p, rest = p_figure(of.p_value, "p"), of.num_sets - len(of.odd)
    if of.p_value is None:
        return [f"Which set is odd was not tested: {of.lacks}."]
    if not of.odd and of.p_value > SIGNIFICANT:
        return [f"None of {of.num_sets} sets is shown to differ from the others together ({p})."]
    if not of.odd:
        return [f"The {of.num_sets} sets differ ({p}), more than one of them: which are odd can't be said."]

    def naming(count: int) -> str:
        names = [*[*of.odd][:count], *[f"{len(of.odd) - count} more"] * (count < len(of.odd))]
        who = f"{', '.join(names[:-1])} and {names[-1]} differ" if len(names) > 1 else f"{names[0]} differs"
        return f"{who} from the other {rest}{' sets' * (len(names) == 1)} together ({p}); none of these is shown to."

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
        lines.append(f"{images_in_words(renamed, noun)} the same under another name.")
    if edited:
        changed = "pixels" if noun == "image" else "values"
        lines.append(f"{images_in_words(edited, noun)} edited: other {changed} under the same name.")
    if far is not None:
        lines.append(f"Between the two versions: {far}, noise included.")
    return lines


def how_far(value: float, unit: str, distance: str) -> str:
    """Return a figure: how far two versions, or parts of them, are apart."""
    return f"{distance} {number(value, 3)}{' ' * bool(unit)}{unit}"


def against_kept(what: str, far: str, p_value: float | None, lacks: str, noun: str = "image") -> list[str]:
    """Say whether images that were added or removed differ from those that both versions have."""
    if p_value is None:
        apart = f"Between {noun}s {what} and those kept: {far}, noise included."
        return [apart, f"Not tested: {lacks}."] if lacks else [apart]
    differ = "differ" if p_value <= SIGNIFICANT else "are not shown to differ"
    return [f"{noun.capitalize()}s {what} {differ} from those kept ({far}, {p_figure(p_value, 'p')})."]
