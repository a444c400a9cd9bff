"""All sentences of results, from figures: each row is one case, whose sentences stand in ``tests/data/said.txt``."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import recorded

from torchmetrics_dna.dna.averaging import PLAIN
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.evidence import Interval, Ratio
from torchmetrics_dna.functional.odd import Odd
from torchmetrics_dna.functional.outliers import FewOff
from torchmetrics_dna.images.changes import Causes
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
    classes,
    difference,
    flagged_beside_reference,
    flagged_in_folder,
    how_far,
    several_sets,
    two_sets,
    versions,
    what_was_measured,
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
SHARE = FewOff(0.002, 0.24, 0.16, 0.32, 3)
NONE_OFF = those_off([], 40, 0.4, 4)
GREYER = Causes(("less saturation",), (45.0,), (10.0, 1.5), 30)
NOISE = PropertyDifference("noise", 0.1, 0.2, 0.1, 0.1, 0.01)
SHARPNESS = PropertyDifference("sharpness", 0.4, 0.3, 0.1, 0.1, 0.01)
BRIGHTNESS = PropertyDifference("brightness", 0.626, 0.348, 0.1, 0.1, 0.01)
# The functions that were called and their figures, to call them again with other p-values.
CALLS: list[tuple[Callable[..., list[str]], tuple[Any, ...]]] = []


def said(function: Callable[..., list[str]], *figures: Any) -> list[str]:
    CALLS.append((function, figures))
    return function(*figures)


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
    return said(flagged_beside_reference, off, reference)


def because(
    p: float | None, causes: Causes | None = None, *properties: PropertyDifference, searched: bool = False, **more: Any
) -> Explanation:
    return Explanation(p, [*properties], causes, ("real", "made"), searched, **more)


def measured(*differences: tuple[str, float, float, float, float]) -> list[str]:
    properties = [PropertyDifference(*difference, 0.01) for difference in differences]
    return said(what_was_measured, Explanation(0.01, properties))


def reason(of: str) -> str:
    return why_off(Odd(0, of, 0.05, 0.2, 0.5), "A", short=False)


TWO = [
    of(EMPTY, off=NONE_OFF),
    of(UNTESTED, distance=DISTANCES["fd"], p_value=0.055),
    of(DIFFERENT, distance=DISTANCES["fd"], interval=replace(INTERVAL, value=0.0, low=0.0)),
    of(UNTESTED, told=None, lacks="made has 1 image, which `rank` takes"),
    of(EMPTY, value=0.0, is_one_source=True),
    of(UNTESTED, value=0.0, is_one_source=True),
    of(UNTESTED, value=0.0),
    of(UNTESTED, explanation=because(None, None, BRIGHTNESS)),
    of(UNTESTED, lacks="made has 1 image, about 10 are needed", is_few=True),
    of(UNTESTED, lacks="real has no folds (`num_folds=20`)"),
    of(UNTESTED, interval=INTERVAL),
    of(UNTESTED, p_value=0.01),
    of(DIFFERENT),
    of(DIFFERENT, explanation=because(0.001, DARKER, BRIGHTNESS), off=OFF),
    of(DIFFERENT, explanation=because(0.001, searched=True), off=OFF),
    of(DIFFERENT, interval=BELOW_NOISE),
    of(DIFFERENT, without_shift="no shift on average; 1 neuron differs"),
    of(DIFFERENT, explanation=because(0.001, searched=True, is_rejected=False)),
    of(
        DIFFERENT, explanation=because(0.001, None, BRIGHTNESS, SHARPNESS, searched=True, is_rejected=False, guess=BLUR)
    ),
    of(DIFFERENT, explanation=because(0.001, BLUR, BRIGHTNESS, SHARPNESS)),
    *[
        of(DIFFERENT, explanation=because(0.001, replace(BLUR, bins=(10.0, left)), SHARPNESS, NOISE))
        for left in (2.0, 4.0)
    ],
    of(DIFFERENT, explanation=because(0.001, searched=True, colourless=(0, 12, 24))),
    of(DIFFERENT, explanation=because(0.001, GREYER, searched=True, colourless=(1, 12, 24))),
    *[
        of(DIFFERENT, explanation=because(0.001, None, *found, searched=True, paired=True, is_rejected=is_rejected))
        for is_rejected in (True, False)
        for found in ((), (BRIGHTNESS,))
    ],
    of(DIFFERENT, copies=(12, 24)),
    of(DIFFERENT, copies=(12, 24), explanation=because(0.001, searched=True)),
    of(
        DIFFERENT,
        copies=(12, 24),
        explanation=because(0.001, None, BRIGHTNESS),
        p_of_network=0.3,
        p_of_properties=0.001,
        off=OFF,
    ),
    of(
        ALIKE,
        p_value=0.02,
        p_of_network=0.3,
        p_of_properties=0.002,
        off=OFF,
        explanation=because(0.02, None, BRIGHTNESS, searched=True),
    ),
    of(DIFFERENT, copies=(12, 24), explanation=because(0.001, DARKER, searched=True)),
    of(DIFFERENT, off=those_off([(str(i), BLURRED) for i in range(21)], 40, None, None)),
    of(DIFFERENT, off=those_off([(str(i), LAYER) for i in range(21)], 40, None, None)),
    of(DIFFERENT, off=those_off([(str(i), (ROW, LAYER)[i % 2]) for i in range(21)], 40, None, None)),
    of(UNTESTED, off=those_off([(str(i), ROW) for i in range(21)], 40, None, None)),
    of(DIFFERENT, off=those_off([("x", BLACK), *((str(i), ROW) for i in range(21))], 40, None, None)),
    of(DIFFERENT, off=those_off([(str(i), ROW) for i in range(2)], 40, None, None)),
    of(
        DIFFERENT,
        explanation=because(0.001, DARKER),
        off=those_off([(str(i), BLURRED) for i in range(21)], 40, None, None),
    ),
    of(DIFFERENT, explanation=because(0.001, DARKER), off=OFF._replace(is_alone=True)),
    of(DIFFERENT, off=NONE_OFF._replace(maybe=["2"])),
    of(DIFFERENT, off=NONE_OFF._replace(named=[("2", LAYER)], by_test=1)),
    of(ALIKE, off=NONE_OFF),
    of(ALIKE, p_value=0.055, interval=replace(BELOW_NOISE, high=0.0935)),
    of(ALIKE, interval=replace(BELOW_NOISE, high=0.0)),
    of(
        ALIKE,
        p_value=0.02,
        p_of_network=0.3,
        p_of_properties=0.002,
        explanation=because(0.02, None, BRIGHTNESS, searched=True),
    ),
    of(ALIKE, p_value=0.02, p_of_network=0.3, p_of_properties=0.002, interval=replace(BELOW_NOISE, high=0.0)),
    of(DIFFERENT, p_value=0.02, p_of_network=0.01, p_of_properties=0.2),
    of(DIFFERENT, p_value=0.05, p_of_network=0.05),
    of(ALIKE, p_value=0.051, p_of_network=0.03, p_of_properties=0.3, interval=replace(BELOW_NOISE, high=0.0)),
    of(ALIKE, copies=(1200, 2400)),
    of(ALIKE, copies=(12000, 24000), off=OFF),
    of(ALIKE, off=OFF),
    of(ALIKE, off=those_off([(str(i), LAYER) for i in range(5)], 40, 0.02, 4, by_test=5)),
    of(UNTESTED, off=those_off([(str(i), BLURRED) for i in range(3)], 4, None, None)),
    of(UNTESTED, off=those_off([(str(i), (BLURRED, BLACK, BLURRED)[i % 3]) for i in range(5)], 50, None, None)),
    of(
        ALIKE,
        off=those_off(
            [(f"{i}.png", odd) for i, odd in enumerate((BLACK, BLURRED, NOISY, BLACK, LAYER, LAYER))], 40, 0.4, 4
        ),
    ),
    of(DIFFERENT, explanation=because(0.001, TWO_CAUSES, BRIGHTNESS), off=OFF),
    of(ALIKE, off=those_off([], 40, 0.02, 4, maybe=["2", "5"])),
    of(ALIKE, off=OFF._replace(is_alone=True)),
    flagged_in_folder(OFF._replace(is_alone=True)),
    flagged_in_folder(those_off([(str(i), BLURRED) for i in range(11)], 40, None, None, is_alone=True)),
    flagged_in_folder(NONE_OFF),
    flagged_in_folder(NONE_OFF._replace(least=15)),
    flagged_in_folder(NONE_OFF._replace(has_properties=False)),
    which(NONE_OFF),
    which(those_off([("1", BLACK)], 1, None, None), "the reference"),
    which(those_off([], 6, 1.0, None, least=40), "the reference"),
    which(those_off([("1", BLACK), ("2", LAYER)], 60, 0.0121, 3, by_test=1)),
    which(those_off([(str(i), LAYER) for i in range(7)], 60, 0.02, 3, by_test=7)),
    which(those_off([("1", BLACK)], 60, 0.02, 3, maybe=[*"23456789"])),
    which(those_off([], 60, 0.02, 3, maybe=["2"])),
    which(those_off([(str(i), LAYER) for i in range(20)], 40, 0.02, 3, by_test=20, least=40)),
    which(those_off([(str(i), NOISY) for i in range(41)], 60, 0.3, 5)),
    which(OFF._replace(share=SHARE, p_value=0.002, fewest=3)),
    which(those_off([("x", BLACK), *((str(i), BLURRED) for i in range(11))], 40, None, None)),
]
REASONS = [
    reason("all black"),
    reason("all white"),
    reason("one colour"),
    reason("no colour"),
    reason("brightness +"),
    reason("brightness -"),
    reason("contrast -"),
    reason("dark pixels +"),
    reason("bright pixels +"),
    reason("saturation +"),
    reason("saturation -"),
    reason("colours +"),
    reason("colours -"),
    reason("sharpness -"),
    reason("noise +"),
    reason("flat areas +"),
    reason("pixelation +"),
    reason("blockiness +"),
    reason("noise_1"),
    reason(""),
]
EXPLAINED = [
    difference(because(None)),
    difference(because(0.3)),
    difference(because(0.01, BLUR)),
    difference(because(0.01, Causes(("JPEG compression",), (30.0,), (10.0, 1.5), 30))),
    str(because(0.04, None, BRIGHTNESS, searched=True)),
    str(because(None)),
    str(because(None, lacks="made has 3 images, about 10 are needed")),
    str(because(None, None, BRIGHTNESS)),
    str(because(0.04, None, BRIGHTNESS)),
    str(because(None, unmeasured="Not measured: do it")),
    str(because(0.04, unmeasured="Not measured: do it")),
    measured(
        ("noise", 0.2, 0.1, 0.1, 0.1),
        ("width", 0.5, 0.6, 0, 0),
        ("height", 0.5, 0.6, 0, 0),
        ("flat areas", 0.2, 0.1, 0.1, 0.1),
    ),
    measured(
        ("colours", 0.2, 0.21, 0.3, 0.2),
        ("brightness", 0.2, 0.21, 0.1, 0.2),
        ("blue against yellow", 0.502, 0.497, 0.001, 0.001),
    ),
    measured(("PNG files", 1, 0, 0, 0), ("JPEG files", 0, 1, 0, 0)),
    measured(("PNG files", 1, 0, 0, 0)),
]


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
RATIO, AT_LEAST = Ratio(3.14, 2.61, 3.77, 0.95), Ratio(None, 2.31, None, 0.95)
HELD = HeldOut("near", "test", RATIO, num_sets=2)
APART = HELD._replace(ratio=None, p_values=(0.3, 0.4), num_sets=3)
UNCLEAR = HELD._replace(ratio=None, p_values=(0.01, 0.2), further=0.2)
FIVE = [FURTHER._replace(name=str(i), p_value=0.2) for i in range(5)]
SEVERAL = [
    order(NEAR),
    order(one_set("near", "1.5", shares_images=True)),
    order(NEAR, FAR._replace(p_value=None)),
    order(NEAR, FAR._replace(p_value=0.003), FURTHER),
    order(NEAR, FAR),
    order(NEAR, FAR, FURTHER),
    order(NEAR, FAR, FURTHER._replace(p_value=0.05)),
    order(NEAR, FAR, FURTHER, FURTHER),
    order(NEAR._replace(shares_images=True), FAR),
    order(NEAR, FAR._replace(shares_images=True)),
    order(NEAR, p_values=(0.3,)),
    order(NEAR, FAR, p_values=(0.3, 0.31)),
    order(NEAR, FAR, equal=("a",), p_values=(0.3, 0.31)),
    order(NEAR, FAR._replace(shares_images=True), p_values=(0.3, 0.31)),
    order(NEAR, FAR, held_out=APART._replace(num_sets=1), p_values=(0.3, 0.31)),
    order(NEAR, held_out=APART._replace(num_sets=1), p_values=(0.3,)),
    order(NEAR, held_out=HELD._replace(ratio=None, sharing=["test"]), p_values=(0.3,)),
    order(equal=("a", "b")),
    order(FAR, equal=("a",)),
    order(NEAR, FAR, equal=("a",)),
    order(NEAR, held_out=HELD),
    order(NEAR, held_out=HELD._replace(p_values=(0.001, 0.01))),
    order(NEAR, FAR, held_out=HELD._replace(p_values=(0.001, 0.01))),
    order(NEAR, held_out=HELD._replace(ratio=AT_LEAST, p_values=(0.01, 0.2))),
    *[
        order(NEAR, held_out=HELD._replace(ratio=ratio, p_values=(0.01, 0.2), further=p))
        for ratio in (None, Ratio(None, 0.9, None, 0.95))
        for p in (0.03, 0.3, None)
    ],
    *[
        order(NEAR, held_out=UNCLEAR._replace(further_in_any=p, furthest_in=where))
        for p, where in ((0.05, None), (0.05, "block_3"), (0.051, "block_3"))
    ],
    order(NEAR, held_out=HELD._replace(ratio=None, further=0.01, p_values=(0.3, 0.2), num_sets=1)),
    order(NEAR, held_out=HELD._replace(ratio=None, further=0.01, p_values=(0.3, 0.01), num_sets=1)),
    order(NEAR, FAR, held_out=HELD),
    order(NEAR, held_out=HELD._replace(ratio=None)),
    order(NEAR, held_out=HELD._replace(ratio=None, sharing=["near", "test"])),
    order(NEAR, held_out=HELD._replace(ratio=Ratio(1.01, 0.8, 1.32, 0.95))),
    order(NEAR, held_out=HELD._replace(ratio=Ratio(None, 1.02, None, 0.95))),
    order(NEAR, held_out=HELD._replace(ratio=Ratio(11.0, 9.0, 13.0, 0.95))),
    order(NEAR, held_out=HELD._replace(ratio=Ratio(None, 11.0, None, 0.95))),
    *[
        order(NEAR, held_out=HELD._replace(held_out=name))
        for name in ("held-out", "held_out/", "Heldout", "held-out_2", "unheld-out")
    ],
    order(NEAR, FAR, p_values=(0.3, 0.02)),
    order(NEAR, FAR, equal=("a",), p_values=(0.3, 0.02)),
    order(NEAR, FAR, FURTHER, p_values=(0.3, 0.06, 0.001)),
    order(NEAR, FAR, FURTHER, p_values=(0.3, 0.02, 0.004)),
    order(NEAR, FAR, FURTHER, held_out=APART, p_values=(0.3, 0.06, 0.001)),
    order(NEAR, FAR, FURTHER, held_out=APART._replace(p_values=(0.3, 0.01)), p_values=(0.3, 0.06, 0.001)),
    order(NEAR, *FIVE, held_out=APART, p_values=(0.3, *[0.01] * 5)),
    order(NEAR, FAR._replace(shares_images=True), p_values=(0.3, 0.02)),
    order(NEAR, FAR, p_values=(0.01, 0.02)),
    classes(3, None, "dog", "dna-emd 2"),
    classes(3, 0, "dog", "dna-emd 2"),
    classes(3, 1, "dog", "dna-emd 2"),
    classes(3, 2, "dog", "dna-emd 2"),
    odd_of(OddSets(4, lacks="b has 4 images, about 10 are needed")),
    odd_of(OddSets(4, 0.31)),
    odd_of(OddSets(4, 0.003)),
    odd_of(OddSets(4, 0.0031, {"a": 0.0031}, 0.4)),
    odd_of(OddSets(4, 0.0031, {"a": 0.0031}, 0.4, [DARKER_SET, NOISIER_SET])),
    odd_of(OddSets(8, 0.0025, {"a": 0.0025, "c": 0.0075}, 0.4, [CLOSE_SET])),
    odd_of(OddSets(20, 0.0025, dict.fromkeys(("a", "c", "near", "far", "x"), 0.0025), 0.4)),
    versions(46, 81, added=35, removed=0, renamed=2, edited=6, far=how_far(2.345, "bins", "dna-emd")),
    versions(1, 1000, added=999, removed=0, renamed=0, edited=0),
    said(against_kept, "added or edited", how_far(2.0, "", "kid"), None, "b has 3 images, about 10 are needed"),
    said(against_kept, "added or edited", how_far(23.5, "bins", "dna-emd"), 0.03, ""),
    said(against_kept, "removed or edited", how_far(23.7, "bins", "dna-emd"), 0.21, ""),
]


def test_sentences_of_figures() -> None:
    lines = []
    for name, rows in {"two sets": TWO, "reasons": REASONS, "explained": EXPLAINED, "several sets": SEVERAL}.items():
        lines.append(f"## {name}")
        for row in rows:
            sentences = [row] if isinstance(row, str) else row
            lines.extend(
                f"{'  ' if number else '- '}{sentence}" for number, sentence in enumerate(sentences or ["nothing"])
            )
    recorded.check("sentences of figures", lines)


def test_a_verdict_has_at_most_four_statements() -> None:
    verdicts = [(function, figures) for function, figures in CALLS if function in (two_sets, several_sets)]
    assert verdicts
    assert all(len(function(*figures)) <= 4 for function, figures in verdicts)


def test_a_p_of_exactly_the_level_is_a_difference_everywhere() -> None:
    """As one that is a little smaller is, in every sentence; one that is a little larger is none in some."""

    def sentences(p: float) -> list[list[str]]:
        return [function(*(with_p(each, p) for each in figures)) for function, figures in CALLS]

    assert sentences(0.05) == sentences(0.05 - 1e-12)
    assert sentences(0.05) != sentences(0.05 + 1e-12)


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_a_property_is_said_of_one_image_and_of_several(fault: str) -> None:
    """Its words stand in the record of the property: a verb first, which has a plural, and at most the reference."""
    odd, name = Odd(0, fault, 0.05, 0.2, 0.5), fault[:-2]
    alone = flagged_beside_reference(those_off([("1.png", odd)], 40, None, None), "theirs")[1]
    many = flagged_beside_reference(those_off([(f"{i}.png", odd) for i in range(30)], 40, None, None), "theirs")[1]
    assert why_off(odd, "theirs", short=False).startswith(FAULTS[fault].words.format("theirs"))
    assert f"({name} " in why_off(odd, "theirs", short=False)
    assert alone.split(" ")[1] in ("is", "has", "shows")
    assert many.split(" ")[1] in ("are", "have", "show")
    assert "{" not in alone + many
