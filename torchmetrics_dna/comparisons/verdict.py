"""Sentences on results: pure functions from figures to sentences. No sentence is read again to make another of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from torchmetrics_dna.files.visible import bins_in_words, images_in_words, number, p_figure
from torchmetrics_dna.functional.permutation import LEAST_FOLDS, SIGNIFICANT
from torchmetrics_dna.images.properties import PROPERTIES, property_in_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torchmetrics_dna.comparisons.explanation import Explanation, PropertyDifference
    from torchmetrics_dna.dna.evidence import Interval, Ratio
    from torchmetrics_dna.functional.odd import Odd
    from torchmetrics_dna.jobs.causes import Causes

_MOST_LAYERS = 3  # that are named
_MOST_OFF = 5  # images that are named in a sentence
_FILES = " files"  # the end of the names of shares of formats
#: What is said of an image for a reason of :class:`~torchmetrics_dna.functional.odd.Odd`; ``{}`` is the reference.
_REASONS = {
    "all black": "is all black",
    "all white": "is all white",
    "one colour": "is of one colour; no image of {} is",
    "no colour": "has no colour; every image of {} has",
    "noise floor +": "is noisy, or finely patterned, even in its calmest parts; no image of {} is",
    "brightness +": "is much brighter than any of {}",
    "brightness -": "is much darker than any of {}",
    "contrast -": "has hardly any contrast",
    "dark pixels +": "is nearly all dark",
    "bright pixels +": "is overexposed",
    "saturation +": "has stronger colours than any of {}",
    "saturation -": "has hardly any colour",
    "colours +": "has far more colours than any of {}, as noise gives",
    "colours -": "has far fewer colours than any of {}",
    "sharpness -": "is much more blurred than any of {}",
    "noise +": "is much noisier than any of {}",
    "flat areas +": "is nearly all flat areas",
    "pixelation +": "is made of enlarged pixels",
    "blockiness +": "shows blocks of 8 pixels, as strong JPEG compression leaves",
    "peak brightness -": "is dark all over: its brightest places are darker than those of any of {}",
}
_PLURALS = {"is": "are", "has": "have", "shows": "show"}
_UNCORRECTED = "dna-emd, not corrected for sampling noise, since images of both are the same or nearly alike"


class Off(NamedTuple):
    """Images of a set that are off, and a test of the others."""

    named: Sequence[tuple[str, Odd]]  # names of images that are off, and why; the furthest first
    total: int  # images of the set
    p_value: float | None  # of the test of a few of the others; None if there are none
    fewest: int | None  # images that are enough for it; None if there are too few for any
    by_test: int = 0  # named images that this test shows to be off
    maybe: Sequence[str] = ()  # images that it finds, none of them beyond all of the reference
    least: int | None = None  # images of the reference that single ones take, if it has fewer


@dataclass(frozen=True)
class TwoSets:
    """Figures of two sets A and B."""

    names: tuple[str, str] = ("A", "B")
    num_images: tuple[int, int] = (0, 0)
    emd: float | None = None  # dna-emd; None if it was not measured, of which nothing is said then
    interval: Interval | None = None  # of dna-emd without sampling noise; None without folds of images
    p_value: float | None = None  # of the test for any difference; None without one
    p_of_properties: float | None = None  # None if properties of images were not measured or tested
    p_of_layers: Mapping[str, float | None] = field(default_factory=dict)
    null: float | None = None  # mean of dna-emd over relabelings of both sides
    by_chance: float | None = None  # dna-emd of equal sets of this size
    times_chance: float | None = None  # dna-emd in multiples of it, if a difference is shown
    without_shift: str = ""  # words for what differs if the mean over neurons is no more than by chance
    is_one_source: bool = False
    shares_images: bool = False  # so many that the sets are no independent samples
    explanation: Explanation | None = None
    off: Off | None = None  # images of B that are unlike A; None if that was not asked

    @property
    def properties_differ(self) -> bool:
        """True if the test of properties of images finds a difference."""
        return self.p_of_properties is not None and self.p_of_properties <= SIGNIFICANT

    @property
    def only_few_differ(self) -> bool:
        """True if a few images of B are off, and the whole is not shown to differ."""
        return bool(self.off and self.off.named) and self.p_value is not None and self.p_value > SIGNIFICANT


def two_sets(sets: TwoSets, differences: Sequence[str] = ()) -> list[str]:
    """Return the lines on two sets: likeness, sentences on what differs, distance and certainty, odd images."""
    headline, distance = headline_and_distance(sets, with_names=True)
    off = off_line(sets, is_named=bool(headline) and sets.only_few_differ)
    return [line for line in (headline, *differences, distance, off) if line]


def headline_and_distance(sets: TwoSets, *, with_names: bool = False) -> tuple[str, str]:
    """Return two lines: what B looks like, and how far it is and how surely; empty without dna-emd.

    If only a few images differ the headline says so, with their names if these are asked for.
    """
    clause, distance = _clause_and_distance(sets)
    if not clause:
        return "", ""
    if sets.off is not None and sets.only_few_differ:
        link = "and" if sets.properties_differ else "but"
        clause += f", {link} {_named(sets.off, sets.names[0], f' of {sets.names[1]}', in_full=with_names)}"
    return f"{clause}.", distance


def off_line(sets: TwoSets, *, is_named: bool = False) -> str:
    """Return the line on images of B that are off, perhaps named already; empty if that was not asked."""
    return "" if sets.off is None else which_are_off(sets.off, sets.names[0], f" of {sets.names[1]}", is_named)


def _clause_and_distance(sets: TwoSets) -> tuple[str, str]:
    (a, b), interval = sets.names, sets.interval
    if sets.emd is None:
        return "", ""
    if sets.is_one_source:
        return f"You gave {'the same images' if a == 'A' else a} twice: A and B are the same images", ""
    if sets.emd == 0:
        return f"{a} and {b} are 0 bins apart: their histograms are equal, as those of the same images are", ""
    if sets.p_value is None or interval is None:
        clause = "" if sets.explanation is None else difference(sets.explanation)
        distance, doubt = _untested(sets, sets.emd)
        return (clause, f"{distance}. {doubt}") if clause else (distance, doubt)
    p = p_figure(sets.p_value, "p")
    if sets.p_value > SIGNIFICANT:
        clause, distance = _alike(sets, sets.emd, interval)
    else:
        clause = f"{b} differs from {a}" if sets.explanation is None else difference(sets.explanation)
        distance = _different(sets, sets.emd, interval)
        if sets.without_shift and not sets.shares_images:
            return clause, f"{distance} ({p})."
    return clause, f"{distance}; {p}.{_times_chance(sets)}"


def _untested(sets: TwoSets, emd: float) -> tuple[str, str]:
    """Return the distance, a clause, and why it has no test, a sentence."""
    a, b = sets.names
    if sets.interval is None:
        return f"{a} and {b} are {bins_in_words(emd)} apart by dna-emd", (
            f"Whether that is more than noise can't be said: a test takes images in {LEAST_FOLDS} folds on each side;"
            " give about 20 images, or DNAs made with folds."
        )
    debiased = f"{bins_in_words(sets.interval.value)} apart by dna-emd, corrected for sampling noise"
    return f"{a} and {b} are {debiased} ({sets.interval.in_words})", (
        "Whether they differ can't be tested, since one side has no folds; give its images, or a DNA that was made"
        " with folds."
    )


def _alike(sets: TwoSets, emd: float, interval: Interval) -> tuple[str, str]:
    """Return clauses on two sets that the test does not tell apart: their likeness, and their distance."""
    (a, b), p = sets.names, p_figure(sets.p_of_properties, "p")
    if sets.shares_images:
        clause = f"{a} and {b} share images, or have some that are nearly alike, so this test can't show whether they"
        clause += f" differ, but properties of their images do ({p})" if sets.properties_differ else " differ"
        return clause, f"{_UNCORRECTED}: {bins_in_words(emd)}"
    clause = f"No difference between {a} and {b}{' as a whole' * sets.only_few_differ} can be shown"
    clause += f" by the network, but properties of their images differ ({p})" if sets.properties_differ else ""
    distance, chance = f"dna-emd is {bins_in_words(emd)}", number(sets.null, 3)
    if not interval.high:
        return clause, f"{distance}, less than the {chance} that chance alone gives at this size"
    most = f"at most {bins_in_words(interval.high)} ({interval.level} interval)"
    distance += f", and chance alone gives {chance} at this size"
    return clause, f"{distance}; corrected for sampling noise, it is {most}"


def _different(sets: TwoSets, emd: float, interval: Interval) -> str:
    """Return the distance of two sets that the test tells apart, a clause."""
    if sets.shares_images:
        return f"{_UNCORRECTED}: {bins_in_words(emd)}{_where(sets.p_of_layers)}"
    if sets.without_shift:
        chance = f"and chance alone gives {number(sets.by_chance, 3)} at this size"
        return f"dna-emd is {bins_in_words(emd)}, {chance}: {sets.without_shift}"
    distance = f"{bins_in_words(interval.value)} ({interval.in_words})"
    if not interval.value:
        distance = f"below noise, at most {bins_in_words(interval.high)} ({interval.level} interval)"
    return f"dna-emd, corrected for sampling noise: {distance}{_where(sets.p_of_layers)}"


def _where(p_of_layers: Mapping[str, float | None]) -> str:
    """Name the layers in which the test finds a difference, if they are few."""
    significant = [layer for layer, p in p_of_layers.items() if (p or 0) <= SIGNIFICANT]
    if not significant:
        return ", in a few neurons and in no layer as a whole"
    if len(significant) == len(p_of_layers) or len(significant) > _MOST_LAYERS:
        return ""
    *first, last = significant
    return f", most clearly in {', '.join(first)}{' and ' * bool(first)}{last}"


def _times_chance(sets: TwoSets) -> str:
    """Say what dna-emd is in multiples of what chance gives at this size; empty if that is no more, or not shown."""
    times = sets.times_chance
    if times is None or (shown := number(times, 2)) == "1" or times < 1 or sets.shares_images:
        return ""
    sizes = " and ".join(f"{count:,}" for count in dict.fromkeys(sets.num_images))
    each = " images each" if sets.num_images[0] == sets.num_images[1] else " images"
    return f" Uncorrected, it is {shown} times what chance alone gives with {sizes}{each}."


def which_are_off(off: Off, reference: str, of: str = "", is_named: bool = False) -> str:
    """Say which images, ``of`` a set, are off, and why, unless these are named already; and what the test finds."""
    sentences = [f"{_named(off, reference, of)}."] * bool(off.named and not is_named)
    if off.by_test:
        was_or_were = "was" if off.by_test == 1 else "were"
        found = f"{off.by_test:,} of these {was_or_were} found by a test of a few"
        sentences.append(f"{found} ({p_figure(off.p_value, 'p')}).")
    elif off.maybe:
        which = f"Other images{of} may be off as well" if off.named else f"Some images{of} may be off"
        sentences.append(f"{which} ({p_figure(off.p_value, 'p')}), first of all {', '.join(off.maybe[:_MOST_OFF])}.")
    elif off.p_value is not None:
        limit = "so few images" if off.fewest is None else f"fewer than {off.fewest:,}"
        which = f"No {'other' if off.named else 'single'} image{of} is shown to stand out"
        sentences.append(f"{which} ({p_figure(off.p_value, 'p')}); this test can hardly show {limit}.")
    if off.least is not None:
        sentences.append(f"Images are judged one by one beside {off.least} images of {reference} or more, not so few.")
    return " ".join(sentences)


def _named(off: Off, reference: str, of: str, *, in_full: bool = True) -> str:
    """Say how many images are off, and which, with their reasons; one that a quarter has is said once."""
    reasons = Counter(odd.reason for _, odd in off.named)
    common = [reason for reason, count in reasons.items() if count > max(1, off.total / 4)]
    how_many = f"{len(off.named):,} of {images_in_words(off.total)}{of}"
    if len(reasons) == len(common) == 1:
        return f"{how_many} {_in_plural(_reason(common[0], reference))}"
    single = [f"{name} {why_off(odd, reference)}" for name, odd in off.named if odd.reason not in common]
    parts = [f"{reasons[reason]:,} {_in_plural(_reason(reason, reference))}" for reason in common]
    parts += single[:_MOST_OFF] + [f"and {len(single) - _MOST_OFF:,} more"] * (len(single) > _MOST_OFF)
    is_or_are = "is" if len(off.named) == 1 else "are"
    return f"{how_many} {is_or_are} beyond anything in {reference}{': ' * in_full}{'; '.join(parts) * in_full}"


def why_off(odd: Odd, reference: str) -> str:
    """Say why an image is off: its property with that of the reference, or the layer where it is furthest."""
    phrase, name = _reason(odd.reason, reference), odd.reason[:-2]
    if odd.reason not in _REASONS or name not in PROPERTIES:
        return phrase
    value, low, high = (property_in_words(name, each) for each in (odd.value, odd.low, odd.high))
    return f"{phrase} ({name} {value}; theirs {low} to {high})"


def _reason(reason: str, reference: str) -> str:
    return _REASONS.get(reason, f"is unlike {{}}, most of all in {reason}").format(reference)


def _in_plural(phrase: str) -> str:
    """Return what is said of one image, said of several, without the details after a colon."""
    verb, _, rest = phrase.partition(":")[0].partition(" ")
    return f"{_PLURALS[verb]} {rest.replace(' its ', ' their ')}"


def difference(explanation: Explanation) -> str:
    """Return a clause: do the sets differ, and what change of A comes near to B? Empty if no test was made."""
    a, b = explanation.names
    if explanation.differs is None:
        return ""
    if not explanation.differs:
        return f"No difference between {a} and {b} can be shown"
    if explanation.causes is not None:
        return f"{b} differs from {a}: {what_causes_do(explanation.causes, a, b)}"
    return f"{b} differs from {a}{'; what causes it could not be named' * explanation.is_searched}"


def what_causes_do(causes: Causes, a: str, b: str) -> str:
    """Return a clause: how near A comes to B after the changes."""
    before, after = causes.bins[0], causes.bins[-1]
    changed = f"{a} after {causes.in_words}"
    if not after:
        return f"{changed} cannot be told from {b}; unchanged, it is {bins_in_words(before)} away"
    return f"{changed} is {bins_in_words(after)} from {b} instead of {number(before, 3)}"


def what_was_measured(explanation: Explanation) -> list[str]:
    """Return the sentence on the properties of images that differ, or nothing."""
    if not explanation.properties:
        return []
    a, b = explanation.names
    files = [each.effect for each in explanation.properties if each.name.endswith(_FILES)]
    phrases = [  # fewer files of one format are more of another
        _property(each)
        for each in explanation.properties
        if not (each.name.endswith(_FILES) and each.effect < 0 < max(files))
    ]
    return [f"Measured in {b} against {a}: {'; '.join(phrases)}."]


def _property(of: PropertyDifference) -> str:
    more, is_plural = of.direction > 0, of.name.endswith("s") and not of.name.endswith("ss")
    if not of.direction:
        return f"{of.name} {'vary' if is_plural else 'varies'} {'more' if of.spread_b > of.spread_a else 'less'}"
    if of.name in ("width", "height"):
        compared = f"{'larger' if more else 'smaller'} {of.name}"
    elif is_plural:
        compared = f"{'more' if more else 'fewer'} {of.name}"
    else:
        compared = f"{of.name} {'higher' if more else 'lower'}"
    return f"{compared} ({property_in_words(of.name, of.a)} to {property_in_words(of.name, of.b)})"


def what_differs(explanation: Explanation) -> str:
    """Return the explanation as a text."""
    sentences = what_was_measured(explanation)
    if headline := difference(explanation):
        p_value = "" if explanation.p_value is None else f" ({p_figure(explanation.p_value, 'p')})"
        sentences = [f"{headline}{p_value}.", *sentences]
    a, b = explanation.names
    return " ".join(sentences) or f"No words are known for what differs between {a} and {b}."


class HeldOut(NamedTuple):
    """A set beside the set of held-out images."""

    name: str
    held_out: str
    ratio: Ratio | None  # times as far from the reference as these; None where that can't be said
    sharing: Sequence[str] = ()  # of both, the sets that share images with the reference
    is_tested: bool = True  # whether both have folds of images


class OneSet(NamedTuple):
    """One of several sets."""

    name: str
    figure: str  # its distance from the reference, without noise if that is known
    shares_images: bool = False  # with the reference
    p_value: float | None = None  # that the nearest set is nearer than this one, corrected; None without a test


class SeveralSets(NamedTuple):
    """Sets against one reference."""

    reference: str
    distance: str  # name of that which gives the order
    sets: Sequence[OneSet]  # the nearest first, without the held-out one
    equal: Sequence[str] = ()  # names of sets whose images are the reference's own
    held_out: HeldOut | None = None  # the nearest of the others beside the held-out one


def several_sets(of: SeveralSets) -> str:
    """Say which set is nearest and how surely, and how far it is beside held-out images."""
    if of.held_out is None:
        return _nearest(of)
    beside = _beside_held_out(of.held_out, of.reference)
    is_only = len(of.sets) + len(of.equal) == 1
    return beside if of.held_out.ratio is not None and is_only else f"{_nearest(of)} {beside}"


def _nearest(of: SeveralSets) -> str:
    if of.equal:
        equal = f"{', '.join(of.equal)}: the same images as {of.reference}, {of.distance} 0."
        if len(of.sets) == 1:
            return f"{equal} The only other set is {of.sets[0].name}, {of.distance} {of.sets[0].figure}."
        return f"{equal} Of the others, {_nearest(of._replace(equal=()))}" if of.sets else equal
    best, *rest = of.sets
    if not rest:
        alike = f"; it shares images with {of.reference}, or has some that are nearly alike"
        return f"{best.name} is the only set, {of.distance} {best.figure}{alike * best.shares_images}."
    nearest, second = f"{best.name} is nearest to {of.reference} ({of.distance} {best.figure})", rest[0]
    if best.shares_images or second.shares_images:
        shares = f"{best.name if best.shares_images else second.name} shares images with {of.reference}"
        return f"{nearest}, but how surely can't be said: {shares}, or has some that are nearly alike."
    if second.p_value is None:
        return f"{nearest}; without folds of images nobody knows how surely."
    p = p_figure(second.p_value, "p")
    if second.p_value <= SIGNIFICANT:
        return f"{nearest}, nearer than {second.name} ({p})."
    more = sum((each.p_value or 0) > SIGNIFICANT for each in rest) - 1
    ties = f"{second.name} and {more} other{'s' * (more > 1)}" if more else second.name
    return f"{nearest}, but not surely nearer than {ties} ({p})."


def _beside_held_out(of: HeldOut, reference: str) -> str:
    """Say how many times as far as the held-out set a set is, or why that can't be said."""
    if of.ratio is None:
        reason = "their noise hides it" if of.is_tested else "there are no folds of images"
        if of.sharing:
            reason = f"{reference} shares images with {' and '.join(of.sharing)}, or has some nearly alike"
        return f"How far {of.name} is beside the held-out {of.held_out} can't be said: {reason}."
    far = f"{of.name} is {of.ratio.in_words} times as far from {reference} as the held-out {of.held_out}{of.ratio.ends}"
    return f"{far}, which can't be told from {reference}." if of.ratio.high is None else f"{far}."


def classes(count: int, num_different: int | None, furthest: str, figure: str) -> str:
    """Say how many classes differ, None without a test, and which of these, or of all, is furthest."""
    if num_different is None:
        return f"Of {count} classes, {furthest} is furthest ({figure})."
    if not num_different:
        return f"Of {count} classes, none differs by more than chance (q ≤ {SIGNIFICANT:g})."
    differ = f"{num_different} differ{'s' * (num_different == 1)} (q ≤ {SIGNIFICANT:g})"
    return f"Of {count} classes, {differ}, {furthest} most ({figure})."


def all_sets(distance: str, count: int, nearest: tuple[str, str, float], furthest: tuple[str, str, float]) -> str:
    """Name the nearest two sets and the furthest two, with the distance of each pair."""
    if count == 2:
        return f"The two sets are {number(nearest[2])} apart by {distance}."
    near, far = (f"{a} and {b} ({distance} {number(value)})" for a, b, value in (nearest, furthest))
    return f"Of {count} sets, {near} are nearest to each other, {far} are furthest apart."


def versions(
    before: int, now: int, *, added: int, removed: int, renamed: int, edited: int, far: str | None = None
) -> list[str]:
    """Say how many images changed between two versions of a data set, and how far they are apart."""
    same = before - removed - edited
    lines = [
        f"{images_in_words(before)} before, {images_in_words(now)} now: {same:,} the same, {added:,} added,"
        f" {removed:,} removed."
    ]
    lines += [f"{images_in_words(renamed)} the same under another name."] * bool(renamed)
    lines += [f"{images_in_words(edited)} edited: other pixels under the same name."] * bool(edited)
    return lines if far is None else [*lines, f"The two versions are {far}, noise included."]


def how_far(value: float, unit: str, distance: str) -> str:
    """Return a phrase: how far two versions, or parts of them, are apart."""
    return f"{number(value, 3)}{' ' * bool(unit)}{unit} apart by {distance}"


def against_kept(what: str, far: str, p_value: float | None) -> str:
    """Say whether images that were added or removed differ from those that both versions have."""
    if p_value is None:
        return f"The images {what} and those kept are {far}, noise included; too few for a test."
    differ = "differ" if p_value <= SIGNIFICANT else "are not shown to differ"
    return f"The images {what} {differ} from those kept ({far}, {p_figure(p_value, 'p')})."
