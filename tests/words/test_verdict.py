"""All sentences of results, from figures: the one place where they are written out."""

# ruff: noqa: E501 - sentences stand whole

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from torchmetrics_dna.dna.averaging import PLAIN
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.evidence import Interval, Ratio
from torchmetrics_dna.functional.odd import Odd
from torchmetrics_dna.images.changes import Causes
from torchmetrics_dna.images.pixel_differences import GAMMA, LIMITED, SWAPPED, PixelDifferences
from torchmetrics_dna.images.properties import FAULTS
from torchmetrics_dna.words.verdict import (
    Explanation,
    HeldOut,
    OddSets,
    Off,
    OneSet,
    PropertyDifference,
    SeveralSets,
    TwoSets,
    against_kept,
    all_sets,
    beside_others,
    classes,
    difference,
    how_far,
    several_sets,
    two_sets,
    versions,
    what_was_measured,
    which_are_off,
    why_off,
)

if TYPE_CHECKING:
    from collections.abc import Callable

INTERVAL = Interval(4.167, 3.5, 4.8, 0.95, 20, True)
BELOW_NOISE = Interval(0.0, 0.0, 0.52, 0.95, 20)
those_off = partial(Off, by_test=0, maybe=(), least=None, is_alone=False, has_properties=True)
one_set = partial(OneSet, shares_images=False, p_value=None)


@dataclass(frozen=True)
class Told:
    """A distance, as a result tells it."""

    value: float
    interval: Interval | None = None
    without_shift: str = ""
    distance: Any = DISTANCES["dna-emd"]
    averaging: Any = PLAIN


EMPTY = TwoSets(
    ("A", "B"), told=None, p_value=None, p_of_network=None, p_of_properties=None, is_one_source=False,
    copies=None, lacks="", is_few=False, explanation=None, off=None, most="",
)  # fmt: skip
UNTESTED = replace(EMPTY, names=("real", "made"), told=Told(5.119))
DIFFERENT = replace(UNTESTED, told=Told(5.119, INTERVAL), p_value=0.0004)
ALIKE = replace(UNTESTED, told=Told(0.71, BELOW_NOISE), p_value=0.3)
BLUR = Causes(("blur",), (1.1234,), (11.22, 2.13), 30)
DARKER = Causes(("darker",), (38.0,), (2.68, 0.0), 30)
TWO_CAUSES = Causes(("darker", "noise"), (30.0, 8.06), (1.0, 0.5, 0.0), 30)
BLACK, LAYER = Odd(0, "all black", 0, 0.1, 0.6), Odd(1, "block_4", 0, 0, 0)
ROW = LAYER._replace(reason="")  # of the only layer
BLURRED, NOISY = Odd(1, "sharpness -", 0.062, 0.21, 0.51), Odd(2, "noise +", 0.1, 0, 0.02)
OFF = those_off([("3.png", BLACK), ("7.png", BLURRED)], 40, 0.4, 4)
NONE_OFF = those_off([], 40, 0.4, 4)
GREYER = Causes(("less saturation",), (45.0,), (10.0, 1.5), 30)
NOISE = PropertyDifference("noise", 0.1, 0.2, 0.1, 0.1, 0.01)
SHARPNESS = PropertyDifference("sharpness", 0.4, 0.3, 0.1, 0.1, 0.01)
BRIGHTNESS = PropertyDifference("brightness", 0.626, 0.348, 0.1, 0.1, 0.01)
NOT_SEEN = "Not seen: faults that more than a tenth of the images share, most noise, watermarks, other content."
MANY = "So many may have been changed alike: `compare` looks for that."
NO_TEST = "made was not tested against real."
DIFFER, FAR = "made differs from real.", "dna-emd without noise: 4.17 bins (95 % interval 3.5 to 4.8; p ≤ 0.001)."
NO_DIFFERENCE = "No difference is shown between real and made."
BY_CHANCE = "No more than chance at this size (p = 0.3); over 0.52 bins is excluded (95 %)."
WITH = "with properties"
USE = "use `diff` or `pairs=` (`--pairs name`)"
LOWER = "Measured in made: lower brightness (0.63 to 0.35)."


NAMES = dict.fromkeys(("real", "photos", "A"), "reference_12") | dict.fromkeys(("made", "B", "b", "c"), "generated_64")
NAMES |= {
    "a": "something_12",
    "near": "step_0012800",
    "far": "step_0006400",
    "x": "step_0003200",
    "test": "validation_a",
}
SAID: list[Callable[[], list[str]]] = []  # what the table says, of names of 12 characters


def said(function: Callable[..., list[str]], *figures: Any) -> list[str]:
    SAID.append(lambda change=renamed: function(*map(change, figures)))
    return function(*figures)


def renamed(value: Any) -> Any:
    if isinstance(value, str):
        return NAMES.get(value, value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{each.name: renamed(getattr(value, each.name)) for each in fields(value)})
    if isinstance(value, dict):
        return {renamed(name): each for name, each in value.items()}
    if isinstance(value, list | tuple):
        items = [*map(renamed, value)]
        return items if isinstance(value, list) else value._make(items) if hasattr(value, "_make") else tuple(items)
    return value


def with_p(value: Any, p: float) -> Any:
    """Figures of which each p-value is this."""

    def of_field(name: str, field: Any) -> Any:
        if not name.startswith("p_") or field is None:
            return with_p(field, p)
        if isinstance(field, dict):
            return dict.fromkeys(field, p)
        return (p,) * len(field) if isinstance(field, tuple) else p

    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{each.name: of_field(each.name, getattr(value, each.name)) for each in fields(value)})
    if hasattr(value, "_fields"):
        return value._replace(**{name: of_field(name, getattr(value, name)) for name in value._fields})
    return type(value)(with_p(each, p) for each in value) if isinstance(value, list | tuple) else value


def of(figures: TwoSets, **changed: Any) -> list[str]:
    of_told = {name: changed.pop(name) for name in [*changed] if name in Told.__dataclass_fields__}
    told: Any = replace(figures.told or Told(0.0), **of_told) if of_told else figures.told
    return said(two_sets, replace(figures, **{"told": told} | changed))


def which(off: Off, reference: str = "A") -> list[str]:
    return said(which_are_off, off, reference)


def because(
    p: float | None, causes: Causes | None = None, *properties: PropertyDifference, searched: bool = False, **more: Any
) -> Explanation:
    return Explanation(p, [*properties], causes, ("real", "made"), searched, **more)


def measured(*differences: tuple[str, float, float, float, float]) -> list[str]:
    properties = [PropertyDifference(*difference, 0.01) for difference in differences]
    return said(what_was_measured, Explanation(0.01, properties))


def reason(of: str) -> str:
    return why_off(Odd(0, of, 0.05, 0.2, 0.5), "A", short=False)


PIXELS = [
    (PixelDifferences(20, 20, 20, 0, 0.9, 64, 237), [
        "20 of 20 pairs differ in pixels, by 64 grey levels (median) and at most 237.",
    ], [LOWER]),
    (PixelDifferences(20, 20, 17, 3, 0.9, 1, 5), [
        "17 of 20 pairs differ in pixels, by 1 grey level (median) and at most 5; 3 differ in size.",
    ], [LOWER]),
    (PixelDifferences(20, 20, 0, 20), [
        "The images of all 20 pairs differ in size, so their pixels were not compared.",
    ], [LOWER]),
    (PixelDifferences(20, 20, 20, 0, 0.9, 64, 237, SWAPPED, None, 20, 20), [
        "20 of 20 pairs differ in pixels, by 64 grey levels (median) and at most 237.",
        "made is real with red and blue swapped in all 20 pairs that differ, within 1 grey level.",
    ], []),
    (PixelDifferences(100, 5000, 99, 0, 0.9, 9, 10, GAMMA, 0.9001, 96, 98), [
        "99 of 100 pairs, drawn from 5,000, differ in pixels, by 9 grey levels (median) and at most 10.",
        "made is real with gamma 0.90 in 96 of 98 pairs that differ by more than 1 grey level.",
    ], []),
    (PixelDifferences(2, 2, 1, 0, 0.9, 9, 10, LIMITED, None, 1, 1), [
        "1 of 2 pairs differs in pixels, by 9 grey levels (median) and at most 10.",
        "made is real in limited range (16 to 235) in the one pair that differs, within 1 grey level.",
    ], []),
]  # fmt: skip
TWO = [
    (of(EMPTY, off=NONE_OFF), []),
    (of(UNTESTED, distance=DISTANCES["fd"], p_value=0.055), [
        "No difference is shown between real and made.", "fd: 5.12, noise included (p = 0.055).",
    ]),
    (of(DIFFERENT, distance=DISTANCES["fd"], interval=replace(INTERVAL, value=0.0, low=0.0)), [
        DIFFER, "fd without noise: at most 4.8 (95 % interval; p ≤ 0.001).",
    ]),
    (of(UNTESTED, told=None, lacks="made has 1 image, which `rank` takes"), [
        "made was not tested against real: made has 1 image, which `rank` takes.",
    ]),
    (of(EMPTY, value=0.0, is_one_source=True), ["You gave the same images twice: A and B are the same images."]),
    (of(UNTESTED, value=0.0, is_one_source=True), ["You gave real twice: A and B are the same images."]),
    (of(UNTESTED, value=0.0), ["real and made are 0 bins apart: their histograms are equal, as of the same images."]),
    (of(UNTESTED, explanation=because(None, None, BRIGHTNESS)), [NO_TEST, "dna-emd: 5.12 bins, noise included."]),
    (of(UNTESTED, lacks="made has 1 image, about 10 are needed", is_few=True), [  # the distance would be noise
        "made was not tested against real: made has 1 image, about 10 are needed.",
    ]),
    (of(UNTESTED, lacks="real has no folds (`num_folds=20`)"), [
        "made was not tested against real: real has no folds (`num_folds=20`).",
        "dna-emd: 5.12 bins, noise included.",
    ]),
    (of(UNTESTED, interval=INTERVAL), [NO_TEST, "dna-emd without noise: 4.17 bins (95 % interval 3.5 to 4.8)."]),
    (of(UNTESTED, p_value=0.01), [DIFFER, "dna-emd: 5.12 bins, noise included (p = 0.01)."]),  # of another distance
    (of(DIFFERENT), [DIFFER, FAR]),
    (of(DIFFERENT, explanation=because(0.001, DARKER, BRIGHTNESS), off=OFF), [
        "made looks like real, darkened by about 38 %: so changed, no difference is left.", FAR, LOWER,
        "2 of 40 images of made are odd beside unchanged real: 3.png is all black; and 1 more.",
    ]),
    (of(DIFFERENT, explanation=because(0.001, searched=True), off=OFF), [
        "made differs from real. Of the changes tried, none explains it: they may show other things.", FAR,
        "2 of 40 images of made are odd: 3.png is all black; 7.png is much more blurred.",
    ]),
    (of(DIFFERENT, interval=BELOW_NOISE), [DIFFER, "dna-emd without noise: at most 0.52 bins (95 % interval; p ≤ 0.001)."]),
    (of(DIFFERENT, without_shift="no shift on average; 1 neuron differs"), [
        DIFFER, "No shift on average; 1 neuron differs (p ≤ 0.001).",
    ]),
    (of(DIFFERENT, explanation=because(0.001, searched=True, is_rejected=False)), [
        "made differs from real. Too few images to tell why: a change, or other things.", FAR,
    ]),
    (of(DIFFERENT, explanation=because(0.001, None, BRIGHTNESS, SHARPNESS, searched=True, is_rejected=False, guess=BLUR)), [
        "made differs from real. Perhaps blurred by about 1.1 px; too few images to tell.", FAR,
        "Measured in made: lower sharpness (0.4 to 0.3), lower brightness (0.63 to 0.35).",
    ]),
    (of(DIFFERENT, explanation=because(0.001, BLUR, BRIGHTNESS, SHARPNESS)), [  # which blur does not move
        "made looks more like real, blurred by about 1.1 px: so changed, 19 % of the distance is left.", FAR,
        "Measured in made: lower brightness (0.63 to 0.35), lower sharpness (0.4 to 0.3).",
    ]),
    *[(of(DIFFERENT, explanation=because(0.001, replace(BLUR, bins=(10.0, left)), SHARPNESS, NOISE))[2:], [
        f"Measured in made: {words}.",
    ]) for left, words in (
        (2.0, "lower sharpness (0.4 to 0.3), higher noise (0.1 to 0.2)"),
        (4.0, "higher noise (0.1 to 0.2), lower sharpness (0.4 to 0.3)"),  # which blur does not move so
    )],
    (of(DIFFERENT, explanation=because(0.001, searched=True, colourless=(0, 12, 24)))[:1], [
        "made differs from real. 12 of 24 images have no colour, none of real.",
    ]),
    (of(DIFFERENT, explanation=because(0.001, GREYER, searched=True, colourless=(1, 12, 24)))[:1], [
        "made differs from real. 12 of 24 images have no colour, 1 of real.",
    ]),
    *[(of(DIFFERENT, explanation=because(0.001, None, *found, searched=True, paired=True, is_rejected=is_rejected)), [
        f"made differs from real. {why}.", FAR, *[LOWER] * len(found),
    ]) for is_rejected, why in (
        (True, "Of the changes tried, none explains it"), (False, "None of the changes tried is shown to explain it"),
    )
      for found in ((), (BRIGHTNESS,))],
    # Not by `of`: a sentence on pixels is as long as it needs to be, and wraps.
    *[(two_sets(replace(DIFFERENT, explanation=because(0.001, None, BRIGHTNESS, paired=True, pixels=pixels))), [
        *lines, DIFFER, FAR, *more,
    ]) for pixels, lines, more in PIXELS],
    (of(UNTESTED, value=0.0, explanation=because(None, paired=True, pixels=PixelDifferences(20, 20, 0, 0))), [
        "None of 20 pairs differs in pixels.",
        "real and made are 0 bins apart: their histograms are equal, as of the same images.",
    ]),
    (of(DIFFERENT, copies=(12, 24)), [
        DIFFER, f"12 of 24 images of made look like real's: {USE}.",
        "dna-emd: 5.12 bins, noise included (p ≤ 0.001).",
    ]),
    (of(DIFFERENT, copies=(12, 24), explanation=because(0.001, searched=True))[:2], [
        DIFFER, f"12 of 24 images of made look like real's: {USE}.",
    ]),
    (of(DIFFERENT, copies=(12, 24), explanation=because(0.001, None, BRIGHTNESS), p_of_network=0.3, p_of_properties=0.001, off=OFF), [
        "Properties of real and made differ; the network alone shows no difference.",
        f"12 of 24 images of made look like real's: {USE}.",
        f"dna-emd: 5.12 bins, noise included (p ≤ 0.001 {WITH}).", LOWER,
    ]),
    (of(ALIKE, p_value=0.02, p_of_network=0.3, p_of_properties=0.002, off=OFF,
        explanation=because(0.02, None, BRIGHTNESS, searched=True))[::3], [
        "Properties of real and made differ; the network alone shows no difference.",
        "2 of 40 images of made are odd: 3.png is all black; 7.png is much more blurred.",
    ]),
    (of(DIFFERENT, copies=(12, 24), explanation=because(0.001, DARKER, searched=True))[:2], [
        "made looks like real, darkened by about 38 %: so changed, no difference is left.",
        f"12 of 24 images of made look like real's: {USE}.",
    ]),
    (of(DIFFERENT, off=those_off([(str(i), BLURRED) for i in range(21)], 40, None, None))[2:], [
        "21 of 40 images of made are much more blurred than any of real.",
    ]),
    (of(DIFFERENT, off=those_off([(str(i), LAYER) for i in range(21)], 40, None, None)), [DIFFER, FAR]),  # all differ
    (of(DIFFERENT, off=those_off([(str(i), (ROW, LAYER)[i % 2]) for i in range(21)], 40, None, None)), [DIFFER, FAR]),
    (of(UNTESTED, off=those_off([(str(i), ROW) for i in range(21)], 40, None, None))[2:], [
        "21 of 40 images of made are unlike real.",
    ]),
    (of(DIFFERENT, off=those_off([("x", BLACK), *((str(i), ROW) for i in range(21))], 40, None, None))[2:], [
        "22 of 40 images of made are odd: x is all black; 21 are unlike real.",
    ]),
    (of(DIFFERENT, off=those_off([(str(i), ROW) for i in range(2)], 40, None, None))[2:], [
        "2 of 40 images of made are odd: 0, 1 are unlike real.",
    ]),
    (of(DIFFERENT, explanation=because(0.001, DARKER), off=those_off([(str(i), BLURRED) for i in range(21)], 40, None, None))[2:], [
        "21 of 40 images of made are much more blurred beside unchanged real.",
    ]),
    (of(DIFFERENT, explanation=because(0.001, DARKER), off=OFF._replace(is_alone=True))[2:], [
        "2 of 40 images of made are odd beside its others: 3.png is all black; 7.png is much more blurred.",
    ]),
    (of(DIFFERENT, off=NONE_OFF._replace(maybe=["2"])), [DIFFER, FAR]),  # all may be off a little
    (of(DIFFERENT, off=NONE_OFF._replace(named=[("2", LAYER)], by_test=1)), [
        DIFFER, FAR, "1 of 40 images of made is odd: 2 is unlike real.",
    ]),
    (of(ALIKE, off=NONE_OFF), [NO_DIFFERENCE, BY_CHANCE]),
    (of(ALIKE, p_value=0.055, interval=replace(BELOW_NOISE, high=0.0935)), [
        NO_DIFFERENCE, "No more than chance at this size (p = 0.055); over 0.0935 bins is excluded (95 %).",
    ]),
    (of(ALIKE, interval=replace(BELOW_NOISE, high=0.0)), [NO_DIFFERENCE, "No more than chance at this size (p = 0.3)."]),
    (of(ALIKE, p_value=0.02, p_of_network=0.3, p_of_properties=0.002, explanation=because(0.02, None, BRIGHTNESS, searched=True)), [
        "Properties of real and made differ; the network alone shows no difference.",
        "Of the changes tried, none explains it: they may show other things.",
        f"dna-emd without noise: at most 0.52 bins (95 % interval; p = 0.02 {WITH}).",
        LOWER,
    ]),
    (of(ALIKE, p_value=0.02, p_of_network=0.3, p_of_properties=0.002, interval=replace(BELOW_NOISE, high=0.0))[1], (
        f"dna-emd without noise: below noise (p = 0.02 {WITH})."
    )),
    (of(DIFFERENT, p_value=0.02, p_of_network=0.01, p_of_properties=0.2), [
        DIFFER, f"dna-emd without noise: 4.17 bins (95 % interval 3.5 to 4.8; p = 0.02 {WITH}).",
    ]),
    (of(DIFFERENT, p_value=0.05, p_of_network=0.05)[:1], [DIFFER]),
    (of(ALIKE, p_value=0.051, p_of_network=0.03, p_of_properties=0.3, interval=replace(BELOW_NOISE, high=0.0)), [
        NO_DIFFERENCE, f"No more than chance at this size (p = 0.051 {WITH}).",
    ]),
    (of(ALIKE, copies=(1200, 2400)), [
        f"Not tested: 1,200 of 2,400 images of made look like real's: {USE}.", "dna-emd: 0.71 bins, noise included.",
    ]),
    (of(ALIKE, copies=(12000, 24000), off=OFF), [
        "Not tested: 12,000 of 24,000 images of made look like real's.", f"U{USE[1:]}.",
        "dna-emd: 0.71 bins, noise included.", "2 of 40 images of made are odd: 3.png is all black; 7.png is much more blurred.",
    ]),
    (of(ALIKE, off=OFF), [
        "No difference is shown between real and made as a whole.", BY_CHANCE,
        "2 of 40 images of made are odd: 3.png is all black; 7.png is much more blurred.",
    ]),
    (of(ALIKE, off=those_off([(str(i), LAYER) for i in range(5)], 40, 0.02, 4, by_test=5))[2:], [
        "5 of 40 images of made are odd: 0, 1, 2, 3, 4 are unlike real.",
    ]),
    (of(UNTESTED, off=those_off([(str(i), BLURRED) for i in range(3)], 4, None, None))[2:], [  # a DNA beside images
        "3 of 4 images of made are odd: 0, 1, 2 are much more blurred.",
    ]),
    (of(UNTESTED, off=those_off([(str(i), (BLURRED, BLACK, BLURRED)[i % 3]) for i in range(5)], 50, None, None))[2:], [
        "5 of 50 images of made are odd: 0 is much more blurred; 1 is all black; and 3 more.",
    ]),
    (of(ALIKE, off=those_off([(f"{i}.png", odd) for i, odd in enumerate((BLACK, BLURRED, NOISY, BLACK, LAYER, LAYER))], 40, 0.4, 4))[2:], [
        "6 of 40 images of made are odd: 0.png is all black; 1.png is much more blurred; and 4 more.",
    ]),
    (of(DIFFERENT, explanation=because(0.001, TWO_CAUSES, BRIGHTNESS), off=OFF), [
        "made looks like real once changed: no difference is left.",
        "Changed: darkened by about 30 % and with noise of about 8.1 grey levels.", FAR,
        "2 of 40 images of made are odd beside unchanged real: 3.png is all black; and 1 more.",
    ]),
    (of(ALIKE, off=those_off([], 40, 0.02, 4, maybe=["2", "5"])), [
        NO_DIFFERENCE, BY_CHANCE, "A few images of made may be odd (p = 0.02), first of all 2, 5.",
    ]),
    (of(ALIKE, off=OFF._replace(is_alone=True))[2:], [
        "2 of 40 images of made are odd beside its others: 3.png is all black; 7.png is much more blurred.",
    ]),
    (beside_others(OFF._replace(is_alone=True), "image"), [
        "2 of 40 images are odd beside the others: 3.png is all black; 7.png is much more blurred.", NOT_SEEN,
    ]),
    (beside_others(those_off([(str(i), BLURRED) for i in range(11)], 40, None, None, is_alone=True), "image")[:1], [
        "11 of 40 images are much more blurred beside the others.",
    ]),
    (beside_others(NONE_OFF, "image"), ["No image is shown to be odd beside the others.", NOT_SEEN]),
    (beside_others(NONE_OFF._replace(least=15), "image"), [
        "No image is shown to be odd beside the others.", "Of fewer than 15 images, only those of one colour are named.",
    ]),
    (beside_others(NONE_OFF._replace(has_properties=False), "image"), [
        "Which images are odd was not asked: that takes properties, which grey and RGB images have.",
    ]),
    (which(NONE_OFF), ["No single image is shown to stand out (p = 0.4); this test sees 4 or more odd images of 40."]),
    (which(those_off([("1", BLACK)], 1, None, None), "the reference"), [  # there are no others
        "1 of 1 image is odd: 1 is all black.",
    ]),
    (which(those_off([], 6, 1.0, None, least=40), "the reference"), [
        "No single image is shown to stand out; so few have no test.",
        "Beside fewer than 40 images of the reference, only images of one colour are judged singly.",
    ]),
    (which(those_off([("1", BLACK), ("2", LAYER)], 60, 0.0121, 3, by_test=1)), [
        "2 of 60 images are odd: 1 is all black; 2 is unlike A.",
        "1 of these was found by a test of a few (p = 0.012).",
    ]),
    (which(those_off([(str(i), LAYER) for i in range(7)], 60, 0.02, 3, by_test=7)), [
        "7 of 60 images are odd: 0, 1, 2, 3, 4 are unlike A; and 2 more.",
        "7 of these were found by a test of a few (p = 0.02).",
    ]),
    (which(those_off([("1", BLACK)], 60, 0.02, 3, maybe=[*"23456789"])), [
        "1 of 60 images is odd: 1 is all black.",
        "Other images may be off as well (p = 0.02), first of all 2, 3, 4.",
    ]),
    (which(those_off([], 60, 0.02, 3, maybe=["2"])), ["Some images may be off (p = 0.02), first of all 2."]),
    (which(those_off([(str(i), LAYER) for i in range(20)], 40, 0.02, 3, by_test=20, least=40)), [  # which are named singly
        f"20 of 40 images are unlike A, most of all in {LAYER.reason}.",
        "20 of these were found by a test of a few (p = 0.02).", MANY,
    ]),
    (which(those_off([(str(i), NOISY) for i in range(41)], 60, 0.3, 5)), [  # a reason of many
        "41 of 60 images are much noisier than any of A.",
        "No other image is shown to stand out (p = 0.3); this test sees 5 or more odd images of 60.", MANY,
    ]),
    (which(those_off([("x", BLACK), *((str(i), BLURRED) for i in range(11))], 40, None, None)), [
        "12 of 40 images are odd: x is all black; 11 are much more blurred.", MANY,
    ]),
]  # fmt: skip
REASONS = [
    (reason("all black"), "is all black"),
    (reason("all white"), "is all white"),
    (reason("one colour"), "is of one colour; no image of A is"),
    (reason("no colour"), "has no colour; every image of A has"),
    (reason("brightness +"), "is much brighter than any of A (brightness 0.05; theirs 0.2 to 0.5)"),
    (reason("brightness -"), "is much darker than any of A (brightness 0.05; theirs 0.2 to 0.5)"),
    (reason("contrast -"), "has far less contrast than any of A (contrast 0.05; theirs 0.2 to 0.5)"),
    (reason("dark pixels +"), "has far more dark pixels than any of A (dark pixels 5 %; theirs 20 % to 50 %)"),
    (reason("bright pixels +"), "has far more bright pixels than any of A (bright pixels 5 %; theirs 20 % to 50 %)"),
    (reason("saturation +"), "has stronger colours than any of A (saturation 0.05; theirs 0.2 to 0.5)"),
    (reason("saturation -"), "has far less colour than any of A (saturation 0.05; theirs 0.2 to 0.5)"),
    (reason("colours +"), "has far more colours than any of A, as noise gives (colours 0.05; theirs 0.2 to 0.5)"),
    (reason("colours -"), "has far fewer colours than any of A (colours 0.05; theirs 0.2 to 0.5)"),
    (reason("sharpness -"), "is much more blurred than any of A (sharpness 0.05; theirs 0.2 to 0.5)"),
    (reason("noise +"), "is much noisier than any of A (noise 0.05; theirs 0.2 to 0.5)"),
    (reason("flat areas +"), "has far more flat areas than any of A (flat areas 5 %; theirs 20 % to 50 %)"),
    (reason("pixelation +"), "is made of enlarged pixels (pixelation 0.05; theirs 0.2 to 0.5)"),
    (
        reason("blockiness +"),
        "shows blocks of 8 pixels, as strong JPEG compression leaves (blockiness 0.05; theirs 0.2 to 0.5)",
    ),
    (reason("noise_1"), "is unlike A, most of all in noise_1"),
    (reason(""), "is unlike A"),
]
EXPLAINED = [
    (difference(because(None)), []),
    (difference(because(0.3)), ["No difference is shown between real and made"]),
    (difference(because(0.01, BLUR)),
     ["made looks more like real, blurred by about 1.1 px: so changed, 19 % of the distance is left"]),
    (difference(because(0.01, Causes(("JPEG compression",), (30.0,), (10.0, 1.5), 30))),
     ["made looks more like real, compressed as JPEG of quality about 30: 15 % of the distance is left"]),
    (str(because(0.04, None, BRIGHTNESS, searched=True)),
     f"made differs from real (p = 0.04). Of the changes tried, none explains it: they may show other things. {LOWER}"),
    (str(because(None)), "`num_folds=20` gives a test."),
    (str(because(None, lacks="made has 3 images, about 10 are needed")), "Not tested: made has 3 images, about 10 are needed."),
    (str(because(None, None, BRIGHTNESS)), LOWER),
    (str(because(0.04, None, BRIGHTNESS)), f"made differs from real (p = 0.04). {LOWER}"),
    (str(because(None, unmeasured="Not measured: do it")), "Not measured: do it. `num_folds=20` gives a test."),
    (str(because(0.04, unmeasured="Not measured: do it")), "made differs from real (p = 0.04). Not measured: do it."),
    (measured(("noise", 0.2, 0.1, 0.1, 0.1), ("width", 0.5, 0.6, 0, 0), ("height", 0.5, 0.6, 0, 0), ("flat areas", 0.2, 0.1, 0.1, 0.1)),
     ["Measured in B: larger width (256 pixels to 776 pixels), lower noise (0.2 to 0.1)."]),
    (measured(("colours", 0.2, 0.21, 0.3, 0.2), ("brightness", 0.2, 0.21, 0.1, 0.2), ("blue against yellow", 0.502, 0.497, 0.001, 0.001)),
     ["Measured in B: lower blue against yellow (0.502 to 0.497), more varied brightness."]),
    (measured(("PNG files", 1, 0, 0, 0), ("JPEG files", 0, 1, 0, 0)),  # which say the same
     ["Measured in B: more JPEG files (0 % to 100 %)."]),
    (measured(("PNG files", 1, 0, 0, 0)), ["Measured in B: fewer PNG files (100 % to 0 %)."]),
]  # fmt: skip


def order(
    *sets: OneSet,
    equal: tuple[str, ...] = (),
    held_out: HeldOut | None = None,
    p_values: tuple[float, ...] = (),
) -> list[str]:
    tested = {each.name: p for each, p in zip(sets, p_values, strict=False)}
    return said(several_sets, SeveralSets("photos", "dna-emd", sets, equal, held_out, tested))


def odd_of(odd: OddSets) -> list[str]:
    return said(all_sets, odd)


DARKER_SET = BRIGHTNESS._replace(a=0.52, b=0.42, theirs=(0.5, 0.55))
NOISIER_SET = NOISE._replace(theirs=(0.1, 0.1))
CLOSE_SET = PropertyDifference("contrast", 0.2, 0.204, 0.01, 0.01, 0.01, (0.196, 0.203))
NEAR, FAR, FURTHER = (
    one_set("near", "1.5 without noise"),
    one_set("far", "8", p_value=0.2),
    one_set("x", "9", p_value=0.3),
)
NEAREST = "near is nearest to photos (dna-emd 1.5 without noise)."
RATIO, AT_LEAST = Ratio(3.14, 2.61, 3.77, 0.95), Ratio(None, 2.31, None, 0.95)
HELD = HeldOut("near", "test", RATIO, num_sets=2)
TIMES = "near is 3.1 times as far from photos as the held-out test (95 % 2.6 to 3.8)."
TIMES_AT_LEAST = "near is at least 2.3 times as far from photos as the held-out test (95 %)."
BOTH = "near and test differ from photos (Holm p ≤ 0.001, 0.01)."
ONE = "near differs from photos, test is not shown to (Holm p = 0.01, 0.2)."
UNLIKE = "Beside the held-out test, which differs itself, others look too near."
UNTOLD = "Whether near is further than the held-out test can't be told"
HOW_FAR, ONLY = (
    "How far near is beside the held-out test can't be said.",
    "near is the only set, dna-emd 1.5 without noise.",
)
EQUAL = "a: the same images as photos, dna-emd 0."
NONE = "None of 2 sets is shown to differ from photos (least Holm p = 0.3)."
APART = HELD._replace(ratio=None, p_values=(0.3, 0.4), num_sets=3)
NEITHER = "Neither near nor test is shown to differ from photos (p = 0.3, 0.4)."
SEVERAL = [
    (order(NEAR), [ONLY]),
    (order(one_set("near", "1.5", shares_images=True)), [
        "near is the only set, dna-emd 1.5.", "near shares images with photos, or has some nearly alike.",
    ]),
    (order(NEAR, FAR._replace(p_value=None)), [NEAREST, "Without folds of images nobody knows how surely."]),
    (order(NEAR, FAR._replace(p_value=0.003), FURTHER), [NEAREST, "It is nearer than far (p = 0.003)."]),
    (order(NEAR, FAR), [NEAREST, "It is not surely nearer than far (p = 0.2)."]),
    (order(NEAR, FAR, FURTHER), [NEAREST, "It is not surely nearer than far and 1 other (p = 0.2)."]),
    (order(NEAR, FAR, FURTHER._replace(p_value=0.05)), [NEAREST, "It is not surely nearer than far (p = 0.2)."]),
    (order(NEAR, FAR, FURTHER, FURTHER), [NEAREST, "It is not surely nearer than far and 2 others (p = 0.2)."]),
    *[(order(*sets), [
        NEAREST, f"How surely can't be said: {name} shares images with photos, or has some nearly alike.",
    ]) for sets, name in (((NEAR._replace(shares_images=True), FAR), "near"), ((NEAR, FAR._replace(shares_images=True)), "far"))],
    *[(order(*of_sets, equal=equal, held_out=held_out, p_values=(0.3, 0.31)), lines)
      for of_sets, equal, held_out, lines in (
          ((NEAR,), (), None, ["near is not shown to differ from photos (p = 0.3)."]),
          ((NEAR, FAR), (), None, [NONE]),
          ((NEAR, FAR), ("a",), None, [EQUAL, NONE.replace("2 sets", "2 other sets")]),
          ((NEAR, FAR._replace(shares_images=True)), (), None, [
              NEAREST, "How surely can't be said: far shares images with photos, or has some nearly alike.",
          ]),
          ((NEAR, FAR), (), HELD._replace(ratio=None, p_values=(0.3, 0.4), num_sets=1), [
              NONE, NEITHER,
          ]),
          ((NEAR,), (), HELD._replace(ratio=None, p_values=(0.3, 0.4), num_sets=1), [NEITHER]),
          ((NEAR,), (), HELD._replace(ratio=None, sharing=["test"]), [
              "near is not shown to differ from photos (p = 0.3).", HOW_FAR,
              "photos shares images with test, or has some nearly alike.",
          ]),
      )],
    (order(equal=("a", "b")), ["a, b: the same images as photos, dna-emd 0."]),
    (order(FAR, equal=("a",)), [EQUAL, "The only other set is far, dna-emd 8."]),
    (order(NEAR, FAR, equal=("a",)), [EQUAL, f"Of the others, {NEAREST}", "It is not surely nearer than far (p = 0.2)."]),
    (order(NEAR, held_out=HELD), [TIMES]),
    (order(NEAR, held_out=HELD._replace(p_values=(0.001, 0.01))), [BOTH, TIMES, UNLIKE]),
    (order(NEAR, FAR, held_out=HELD._replace(p_values=(0.001, 0.01))), [
        NEAREST, "It is not surely nearer than far (p = 0.2).", BOTH, TIMES,
    ]),
    (order(NEAR, held_out=HELD._replace(ratio=AT_LEAST, p_values=(0.01, 0.2))), [ONE, TIMES_AT_LEAST]),
    *[(order(NEAR, held_out=HELD._replace(ratio=ratio, p_values=(0.01, 0.2), further=p))[-2:], [ONE, line])
      for ratio in (None, Ratio(None, 0.9, None, 0.95))
      for p, line in ((0.03, "near is further than the held-out test; how many times can't be said (p = 0.03)."),
                      (0.3, f"{UNTOLD} from so few images."), (None, f"{UNTOLD} from so few images."))],
    *[(order(NEAR, held_out=HELD._replace(ratio=None, p_values=(0.01, 0.2), further=0.2, further_in_any=p, furthest_in=where))[-2:], [ONE, line])
      for p, where, line in (
          (0.05, None, "In some layer or property near is further than the held-out test (p = 0.05)."),
          (0.05, "block_3", "In block_3 near is further than the held-out test (p = 0.05)."),
          (0.051, "block_3", f"{UNTOLD} from so few images."),
      )],
    *[(order(NEAR, held_out=HELD._replace(ratio=None, further=0.01, p_values=(0.3, p), num_sets=1))[:3], [
        ONLY, line, *[UNLIKE] * (p == 0.01),
      ]) for p, line in (
          (0.2, "Neither near nor test is shown to differ from photos (p = 0.3, 0.2)."),
          (0.01, "test differs from photos, near is not shown to (p = 0.01, 0.3)."),
      )],
    (order(NEAR, FAR, held_out=HELD), [NEAREST, "It is not surely nearer than far (p = 0.2).", TIMES]),
    (order(NEAR, held_out=HELD._replace(ratio=None)), [ONLY, f"{UNTOLD} without folds."]),
    (order(NEAR, held_out=HELD._replace(ratio=None, sharing=["near", "test"])), [
        ONLY, HOW_FAR, "photos shares images with near and test, or has some nearly alike.",
    ]),
    *[(order(NEAR, held_out=HELD._replace(ratio=ratio)), [f"near is {far} from photos as the held-out test (95 %{ends})."])
      for ratio, far, ends in (
          (Ratio(1.01, 0.8, 1.32, 0.95), "as far", " 0.8 to 1.3"),
          (Ratio(None, 1.02, None, 0.95), "at least as far", ""),
          (Ratio(11.0, 9.0, 13.0, 0.95), "11 times as far", " 9 to 13"),
          (Ratio(None, 11.0, None, 0.95), "at least 11 times as far", ""),
      )],
    *[(order(NEAR, held_out=HELD._replace(held_out=name)), [TIMES.replace("test", called)]) for name, called in (
        ("held-out", "images"), ("held_out/", "images"), ("Heldout", "images"), ("held-out_2", "held-out_2"), ("unheld-out", "unheld-out"),
    )],
    *[(order(*sets, equal=equal, held_out=held_out, p_values=p_values), [
        *[EQUAL] * len(equal), NEAREST if not equal else f"Of the others, {NEAREST}",
        f"It is not surely nearer than {sets[1].name}{' and 1 other' * (len(sets) == 3)}{' and 4 others' * (len(sets) == 6)} (p = 0.2).",
        line, *after,
    ]) for sets, equal, held_out, p_values, line, *after in (
        ((NEAR, FAR), (), None, (0.3, 0.02), "1 of 2 sets is shown to differ from photos (Holm p = 0.02): far."),
        ((NEAR, FAR), ("a",), None, (0.3, 0.02), "1 of 2 other sets is shown to differ from photos (Holm p = 0.02): far."),
        ((NEAR, FAR, FURTHER), (), None, (0.3, 0.06, 0.001), "1 of 3 sets is shown to differ from photos (Holm p ≤ 0.001): x."),
        ((NEAR, FAR, FURTHER), (), None, (0.3, 0.02, 0.004), "2 of 3 sets are shown to differ from photos (Holm p ≤ 0.02): far, x."),
        ((NEAR, FAR, FURTHER), (), APART, (0.3, 0.06, 0.001), "1 of 3 sets is shown to differ from photos (Holm p ≤ 0.001): x.", NEITHER.replace("(p", "(Holm p")),
        ((NEAR, FAR, FURTHER), (), APART._replace(p_values=(0.3, 0.01)), (0.3, 0.06, 0.001),
         "1 of 3 sets is shown to differ from photos (Holm p ≤ 0.001): x.", "test differs from photos, near is not shown to (Holm p = 0.01, 0.3)."),
        ((NEAR, *[FURTHER._replace(name=str(i), p_value=0.2) for i in range(5)]), (), APART, (0.3, *[0.01] * 5),
         "5 of 6 sets are shown to differ from photos (Holm p ≤ 0.01), such as 0, 1, 2.", NEITHER.replace("(p", "(Holm p")),
    )],
    (order(NEAR, FAR._replace(shares_images=True), p_values=(0.3, 0.02)), [
        NEAREST, "How surely can't be said: far shares images with photos, or has some nearly alike.",
        "1 of 2 sets is shown to differ from photos (Holm p = 0.02): far.",
    ]),
    (order(NEAR, FAR, p_values=(0.01, 0.02)), [NEAREST, "It is not surely nearer than far (p = 0.2)."]),  # as the nearest
    (classes(3, None, "dog", "dna-emd 2"), "Of 3 classes, dog is furthest (dna-emd 2)."),
    (classes(3, 0, "dog", "dna-emd 2"), "Of 3 classes, none differs by more than chance (q ≤ 0.05)."),
    (classes(3, 1, "dog", "dna-emd 2"), "Of 3 classes, 1 differs (q ≤ 0.05), dog most (dna-emd 2)."),
    (classes(3, 2, "dog", "dna-emd 2"), "Of 3 classes, 2 differ (q ≤ 0.05), dog most (dna-emd 2)."),
    (odd_of(OddSets(4, lacks="b has 4 images, about 10 are needed")),
     ["Which set is odd was not tested: b has 4 images, about 10 are needed."]),
    (odd_of(OddSets(4, 0.31)), ["None of 4 sets is shown to differ from the others together (p = 0.31)."]),
    (odd_of(OddSets(4, 0.003)), ["The 4 sets differ (p = 0.003), more than one of them: which are odd can't be said."]),
    (odd_of(OddSets(4, 0.0031, {"a": 0.0031}, 0.4)),
     ["a differs from the other 3 sets together (p = 0.0031); none of these is shown to."]),
    (odd_of(OddSets(4, 0.0031, {"a": 0.0031}, 0.4, [DARKER_SET, NOISIER_SET])),
     ["a differs from the other 3 sets together (p = 0.0031); none of these is shown to.",
      "Measured in a: lower brightness (0.42; theirs 0.5 to 0.55), higher noise (0.2; theirs 0.1)."]),
    (odd_of(OddSets(8, 0.0025, {"a": 0.0025, "c": 0.0075}, 0.4, [CLOSE_SET])),
     ["a and c differ from the other 6 together (p = 0.0025); none of these is shown to.",
      "Measured in a: higher contrast (0.204; theirs 0.196 to 0.203)."]),
    (odd_of(OddSets(20, 0.0025, dict.fromkeys(("a", "c", "near", "far", "x"), 0.0025), 0.4)),
     ["a, c, near, far and x differ from the other 15 together (p = 0.0025); none of these is shown to."]),
    (versions(46, 81, added=35, removed=0, renamed=2, edited=6, far=how_far(2.345, "bins", "dna-emd")),
     ["46 images before, 81 images now: 40 the same, 35 added, 0 removed.", "2 images the same under another name.",
      "6 images edited: other pixels under the same name.", "Between the two versions: dna-emd 2.35 bins, noise included."]),
    (versions(1, 1000, added=999, removed=0, renamed=0, edited=0),
     ["1 image before, 1,000 images now: 1 the same, 999 added, 0 removed."]),
    (said(against_kept, "added or edited", how_far(2.0, "", "kid"), None, "b has 3 images, about 10 are needed"),
     ["Between images added or edited and those kept: kid 2, noise included.",
      "Not tested: b has 3 images, about 10 are needed."]),
    (said(against_kept, "added or edited", how_far(23.5, "bins", "dna-emd"), 0.03, ""),
     ["Images added or edited differ from those kept (dna-emd 23.5 bins, p = 0.03)."]),
    (said(against_kept, "removed or edited", how_far(23.7, "bins", "dna-emd"), 0.21, ""),
     ["Images removed or edited are not shown to differ from those kept (dna-emd 23.7 bins, p = 0.21)."]),
]  # fmt: skip


@pytest.mark.parametrize("told", SAID)
def test_a_verdict_is_short(told: Callable[[], list[str]]) -> None:
    lines = told()
    assert len(lines) <= 4
    assert max(map(len, lines), default=0) <= 100, max(lines, key=len)


def test_a_p_of_exactly_the_level_is_a_difference_everywhere() -> None:
    """As one that is a little smaller is, in every sentence; one that is a little larger is none in some."""
    at, below, above = ([told(partial(with_p, p=p)) for told in SAID] for p in (0.05, 0.05 - 1e-12, 0.05 + 1e-12))
    assert at == below
    assert at != above


@pytest.mark.parametrize(("told", "expected"), [*TWO, *REASONS, *EXPLAINED, *SEVERAL])
def test_what_is_said_of_figures(told: object, expected: object) -> None:
    assert told == expected


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_a_property_is_said_of_one_image_and_of_several(fault: str) -> None:
    """Its words stand in the record of the property: a verb first, which has a plural, and at most the reference."""
    odd, name = Odd(0, fault, 0.05, 0.2, 0.5), fault[:-2]
    alone = which_are_off(those_off([("1.png", odd)], 40, None, None), "theirs")[0]
    many = which_are_off(those_off([(f"{i}.png", odd) for i in range(30)], 40, None, None), "theirs")[0]
    assert why_off(odd, "theirs", short=False).startswith(FAULTS[fault].words.format("theirs"))
    assert f"({name} " in why_off(odd, "theirs", short=False)
    assert alone.split(": 1.png ")[1].split(" ")[0] in ("is", "has", "shows")
    assert many.split("30 of 40 images ")[1].split(" ")[0] in ("are", "have", "show")
    assert "{" not in alone + many
