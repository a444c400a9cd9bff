"""All sentences of results, from figures: each row is one case, whose sentences stand in ``tests/data/said.txt``."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
import recorded

from torchmetrics_dna.comparisons.outlier_sets import OutlierSets
from torchmetrics_dna.comparisons.versions import Versions
from torchmetrics_dna.dna.averaging import PLAIN
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.evidence import Interval, Ratio
from torchmetrics_dna.dna.result import FewDiffer, Finding
from torchmetrics_dna.functional.flagging import Outlier
from torchmetrics_dna.functional.outliers import OutlierTest
from torchmetrics_dna.images.changes import Causes
from torchmetrics_dna.images.properties import FAULTS
from torchmetrics_dna.reporting import classes, several_sets, two_sets, versions
from torchmetrics_dna.reporting.matrix import outlier_sets
from torchmetrics_dna.reporting.outliers import flagged_beside_reference, flagged_in_folder
from torchmetrics_dna.words.explanation import Explanation, PropertyDifference, difference, what_was_measured
from torchmetrics_dna.words.reasons import why_flagged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

INTERVAL = Interval(4.167, 3.5, 4.8, 0.95, 20, True)
BELOW_NOISE = Interval(0.0, 0.0, 0.52, 0.95, 20)


@dataclass(frozen=True)
class Outliers:
    """The attributes of an ``Outliers`` that sentences read."""

    flagged: list[tuple[str, Outlier]]
    total: int
    p_value: float | None
    fewest: int | None
    num_by_test: int = 0
    candidates: Sequence[str] = ()
    too_few: int | None = None
    is_alone: bool = False
    has_properties: bool = True
    share: OutlierTest | None = None

    @property
    def names(self) -> range:
        return range(self.total)

    @property
    def named(self) -> list[Outlier]:
        return [odd for _, odd in self.flagged]

    @property
    def outlier_test(self) -> OutlierTest | None:
        return None if self.p_value is None else OutlierTest(self.p_value, 0.0, 0.0, 1.0, self.fewest)


@dataclass(frozen=True)
class OneDistance:
    """The attributes of a ``Result`` that sentences read."""

    value: float
    interval: Interval | None = None
    few_differ: FewDiffer | None = None
    distance: Any = DISTANCES["dna-emd"]
    averaging: Any = PLAIN

    @property
    def debiased(self) -> float | None:
        return None if self.interval is None else self.interval.value

    @property
    def overall(self) -> Finding:
        return Finding(self.value, self.interval)


@dataclass(frozen=True)
class TwoSets:
    """The attributes of a ``Comparison`` that sentences read."""

    names: tuple[str, str] = ("A", "B")
    main: OneDistance | None = None
    p_value_of_any: float | None = None
    p_value: float | None = None
    p_value_of_properties: float | None = None
    is_one_source: bool = False
    shares_images: bool = False
    copies: int = 0
    num_images: dict[str, int] = field(default_factory=lambda: {"a": 40, "b": 40})
    why_untested: str = ""
    is_few: bool = False
    explanation: Explanation | None = None
    outliers: Outliers | None = None
    noun: str = "image"
    test: None = None
    p_value_of_farther: float | None = None
    furthest_in: str | None = None

    @property
    def differs(self) -> bool | None:
        return None if self.p_value_of_any is None else self.p_value_of_any <= 0.05

    def __getitem__(self, distance: str) -> OneDistance:
        assert self.main is not None
        return self.main


those_off = Outliers
EMPTY = TwoSets()
UNTESTED = TwoSets(names=("real", "made"), main=OneDistance(5.119))
DIFFERENT = replace(UNTESTED, main=OneDistance(5.119, INTERVAL), p_value_of_any=0.0004)
ALIKE = replace(UNTESTED, main=OneDistance(0.71, BELOW_NOISE), p_value_of_any=0.3)
BLUR = Causes(("blur",), (1.1234,), (11.22, 2.13), 30)
DARKER = Causes(("darker",), (38.0,), (2.68, 0.0), 30)
TWO_CAUSES = Causes(("darker", "noise"), (30.0, 8.06), (1.0, 0.5, 0.0), 30)
BLACK, LAYER = Outlier(0, "all black", 0, 0.1, 0.6), Outlier(1, "block_4", 0, 0, 0)
ROW = LAYER._replace(reason="")  # of the only layer
BLURRED, NOISY = Outlier(1, "sharpness -", 0.062, 0.21, 0.51), Outlier(2, "noise +", 0.1, 0, 0.02)
OFF = those_off([("3.png", BLACK), ("7.png", BLURRED)], 40, 0.4, 4)
SHARE = OutlierTest(0.002, 0.24, 0.16, 0.32, 3)
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
    of_distance = {name: changed.pop(name) for name in [*changed] if name in OneDistance.__dataclass_fields__}
    main = figures.main or OneDistance(0.0)
    main_changed = replace(main, **of_distance) if of_distance else figures.main
    return said(two_sets.sentences, replace(figures, **{"main": main_changed} | changed))


def which(outliers: Outliers, reference: str = "A") -> list[str]:
    return said(flagged_beside_reference, outliers, reference, "image")


def because(
    p: float | None, causes: Causes | None = None, *properties: PropertyDifference, searched: bool = False, **more: Any
) -> Explanation:
    return Explanation(p, [*properties], causes, ("real", "made"), searched, **more)


def measured(*differences: tuple[str, float, float, float, float]) -> list[str]:
    properties = [PropertyDifference(*difference, 0.01) for difference in differences]
    return said(what_was_measured, Explanation(0.01, properties))


def reason(of: str) -> str:
    return why_flagged(Outlier(0, of, 0.05, 0.2, 0.5), "A", short=False)


TWO = [
    of(EMPTY, outliers=NONE_OFF),
    of(UNTESTED, distance=DISTANCES["fd"], p_value_of_any=0.055),
    of(DIFFERENT, distance=DISTANCES["fd"], interval=replace(INTERVAL, value=0.0, low=0.0)),
    of(UNTESTED, main=None, why_untested="made has 1 image, which `rank` takes"),
    of(EMPTY, value=0.0, is_one_source=True),
    of(UNTESTED, value=0.0, is_one_source=True),
    of(UNTESTED, value=0.0),
    of(UNTESTED, explanation=because(None, None, BRIGHTNESS)),
    of(UNTESTED, why_untested="made has 1 image, about 10 are needed", is_few=True),
    of(UNTESTED, why_untested="real has no folds (`num_folds=20`)"),
    of(UNTESTED, interval=INTERVAL),
    of(UNTESTED, p_value_of_any=0.01),
    of(DIFFERENT),
    of(DIFFERENT, explanation=because(0.001, DARKER, BRIGHTNESS), outliers=OFF),
    of(DIFFERENT, explanation=because(0.001, searched=True), outliers=OFF),
    of(DIFFERENT, interval=BELOW_NOISE),
    of(DIFFERENT, few_differ=FewDiffer(1, "neuron")),
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
    of(DIFFERENT, shares_images=True, copies=12, num_images={"a": 24, "b": 24}),
    of(
        DIFFERENT,
        shares_images=True,
        copies=12,
        num_images={"a": 24, "b": 24},
        explanation=because(0.001, searched=True),
    ),
    of(
        DIFFERENT,
        shares_images=True,
        copies=12,
        num_images={"a": 24, "b": 24},
        explanation=because(0.001, None, BRIGHTNESS),
        p_value=0.3,
        p_value_of_properties=0.001,
        outliers=OFF,
    ),
    of(
        ALIKE,
        p_value_of_any=0.02,
        p_value=0.3,
        p_value_of_properties=0.002,
        outliers=OFF,
        explanation=because(0.02, None, BRIGHTNESS, searched=True),
    ),
    of(
        DIFFERENT,
        shares_images=True,
        copies=12,
        num_images={"a": 24, "b": 24},
        explanation=because(0.001, DARKER, searched=True),
    ),
    of(DIFFERENT, outliers=those_off([(str(i), BLURRED) for i in range(21)], 40, None, None)),
    of(DIFFERENT, outliers=those_off([(str(i), LAYER) for i in range(21)], 40, None, None)),
    of(DIFFERENT, outliers=those_off([(str(i), (ROW, LAYER)[i % 2]) for i in range(21)], 40, None, None)),
    of(UNTESTED, outliers=those_off([(str(i), ROW) for i in range(21)], 40, None, None)),
    of(DIFFERENT, outliers=those_off([("x", BLACK), *((str(i), ROW) for i in range(21))], 40, None, None)),
    of(DIFFERENT, outliers=those_off([(str(i), ROW) for i in range(2)], 40, None, None)),
    of(
        DIFFERENT,
        explanation=because(0.001, DARKER),
        outliers=those_off([(str(i), BLURRED) for i in range(21)], 40, None, None),
    ),
    of(DIFFERENT, explanation=because(0.001, DARKER), outliers=replace(OFF, is_alone=True)),
    of(DIFFERENT, outliers=replace(NONE_OFF, candidates=["2"])),
    of(DIFFERENT, outliers=replace(NONE_OFF, flagged=[("2", LAYER)], num_by_test=1)),
    of(ALIKE, outliers=NONE_OFF),
    of(ALIKE, p_value_of_any=0.055, interval=replace(BELOW_NOISE, high=0.0935)),
    of(ALIKE, interval=replace(BELOW_NOISE, high=0.0)),
    of(
        ALIKE,
        p_value_of_any=0.02,
        p_value=0.3,
        p_value_of_properties=0.002,
        explanation=because(0.02, None, BRIGHTNESS, searched=True),
    ),
    of(ALIKE, p_value_of_any=0.02, p_value=0.3, p_value_of_properties=0.002, interval=replace(BELOW_NOISE, high=0.0)),
    of(DIFFERENT, p_value_of_any=0.02, p_value=0.01, p_value_of_properties=0.2),
    of(DIFFERENT, p_value_of_any=0.05, p_value=0.05),
    of(ALIKE, p_value_of_any=0.051, p_value=0.03, p_value_of_properties=0.3, interval=replace(BELOW_NOISE, high=0.0)),
    of(ALIKE, shares_images=True, copies=1200, num_images={"a": 2400, "b": 2400}),
    of(ALIKE, shares_images=True, copies=12000, num_images={"a": 24000, "b": 24000}, outliers=OFF),
    of(ALIKE, outliers=OFF),
    of(ALIKE, outliers=those_off([(str(i), LAYER) for i in range(5)], 40, 0.02, 4, num_by_test=5)),
    of(UNTESTED, outliers=those_off([(str(i), BLURRED) for i in range(3)], 4, None, None)),
    of(UNTESTED, outliers=those_off([(str(i), (BLURRED, BLACK, BLURRED)[i % 3]) for i in range(5)], 50, None, None)),
    of(
        ALIKE,
        outliers=those_off(
            [(f"{i}.png", odd) for i, odd in enumerate((BLACK, BLURRED, NOISY, BLACK, LAYER, LAYER))], 40, 0.4, 4
        ),
    ),
    of(DIFFERENT, explanation=because(0.001, TWO_CAUSES, BRIGHTNESS), outliers=OFF),
    of(ALIKE, outliers=those_off([], 40, 0.02, 4, candidates=["2", "5"])),
    of(ALIKE, outliers=replace(OFF, is_alone=True)),
    flagged_in_folder(replace(OFF, is_alone=True), "image"),
    flagged_in_folder(those_off([(str(i), BLURRED) for i in range(11)], 40, None, None, is_alone=True), "image"),
    flagged_in_folder(NONE_OFF, "image"),
    flagged_in_folder(replace(NONE_OFF, too_few=15), "image"),
    flagged_in_folder(replace(NONE_OFF, has_properties=False), "image"),
    which(NONE_OFF),
    which(those_off([("1", BLACK)], 1, None, None), "the reference"),
    which(those_off([], 6, 1.0, None, too_few=40), "the reference"),
    which(those_off([("1", BLACK), ("2", LAYER)], 60, 0.0121, 3, num_by_test=1)),
    which(those_off([(str(i), LAYER) for i in range(7)], 60, 0.02, 3, num_by_test=7)),
    which(those_off([("1", BLACK)], 60, 0.02, 3, candidates=[*"23456789"])),
    which(those_off([], 60, 0.02, 3, candidates=["2"])),
    which(those_off([(str(i), LAYER) for i in range(20)], 40, 0.02, 3, num_by_test=20, too_few=40)),
    which(those_off([(str(i), NOISY) for i in range(41)], 60, 0.3, 5)),
    which(replace(OFF, share=SHARE, p_value=0.002, fewest=3)),
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
    str(because(None, why_untested="made has 3 images, about 10 are needed")),
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


@dataclass(frozen=True)
class OneSet:
    name: str
    value: float
    shares_images: bool = False
    p_value: float | None = None  # that the closest set is closer
    debiased: bool = True


@dataclass(frozen=True)
class HeldOut:
    """A set, and figures of it relative to the held-out one."""

    name: str
    held_out: str
    ratio: Ratio | None
    num_sets: int
    sharing: Sequence[str] = ()
    p_values: tuple[float | None, float | None] = (None, None)
    further: float | None = None
    further_in_any: float | None = None
    furthest_in: str | None = None


@dataclass(frozen=True)
class SeveralSets:
    """The attributes of a ``Comparisons`` that sentences read."""

    sets: Sequence[OneSet]
    equal: Sequence[str]
    beside: HeldOut | None
    p_of_sets: Sequence[float]
    reference: str = "photos"
    distance: str = "dna-emd"
    noun: str = "image"

    @property
    def held_out(self) -> str | None:
        return None if self.beside is None else self.beside.held_out

    @property
    def ranked(self) -> list[str]:
        return [each.name for each in self.sets]

    @property
    def p_values(self) -> dict[str, float | None]:
        return {each.name: each.p_value for each in self.sets}

    @property
    def p_holm(self) -> dict[str, float | None]:
        p_holm: dict[str, float | None] = dict.fromkeys(self)
        p_holm |= dict(zip(self.ranked, self.p_of_sets, strict=False))
        if self.beside is not None and self.beside.p_values != (None, None):
            p_holm |= dict(zip((self.beside.name, self.beside.held_out), self.beside.p_values, strict=True))
        return p_holm

    def own_p_values(self, distance: str) -> dict[str, float | None]:
        return dict.fromkeys(self)

    def ratios(self) -> dict[str, Ratio | None]:
        return dict.fromkeys(self) | ({self.beside.name: self.beside.ratio} if self.beside else {})

    def property_ratios(self) -> dict[str, Ratio | None]:
        return dict.fromkeys(self)

    def p_farther(self, name: str) -> float | None:
        assert self.beside is not None
        return self.beside.further

    def __iter__(self) -> Iterator[str]:
        yield from self.ranked
        yield from self.equal
        if self.held_out is not None:
            yield self.held_out

    def __len__(self) -> int:
        return self.beside.num_sets if self.beside else len(self.sets) + len(self.equal)

    def __getitem__(self, name: str) -> TwoSets:
        sharing = self.beside.sharing if self.beside else ()
        shares = name in sharing or any(each.shares_images for each in self.sets if each.name == name)
        of_set = next((each for each in self.sets if each.name == name), OneSet(name, 0.0))
        interval = replace(INTERVAL, value=of_set.value) if of_set.debiased else None
        return TwoSets(
            main=OneDistance(of_set.value, interval),
            shares_images=shares,
            p_value_of_farther=self.beside.further_in_any if self.beside else None,
            furthest_in=self.beside.furthest_in if self.beside else None,
        )


def order(
    *sets: OneSet,
    equal: tuple[str, ...] = (),
    held_out: HeldOut | None = None,
    p_values: tuple[float, ...] = (),
) -> list[str]:
    return said(several_sets.sentences, SeveralSets(sets, equal, held_out, p_values))


@dataclass(frozen=True)
class Classes:
    """The attributes of a ``ClassComparisons`` that sentences read."""

    q_values: dict[str, float | None]
    distance: str = "dna-emd"

    @property
    def order(self) -> list[str]:
        return list(self.q_values)

    def figure(self, name: str) -> float:
        return 2.0

    def __len__(self) -> int:
        return len(self.q_values)

    def __getitem__(self, name: str) -> dict[str, OneDistance]:
        return {self.distance: OneDistance(3.0, replace(INTERVAL, value=2.0))}


def of_classes(*q_values: float | None) -> list[str]:
    return said(classes.sentences, Classes(dict(zip(("dog", "cat", "emu"), q_values, strict=True))))


@dataclass(frozen=True)
class AgainstKept:
    """The attributes of a ``Comparison`` that sentences on versions read."""

    value: float
    p_value_of_any: float | None = None
    why_untested: str = ""
    distance: Any = DISTANCES["dna-emd"]

    def values(self) -> list[OneDistance]:
        return [OneDistance(self.value, distance=self.distance)]

    def explain(self, names: tuple[str, str]) -> Explanation:
        return Explanation(self.p_value_of_any, [], names=names)


def of_versions(before: int, now: int, **changed: Any) -> list[str]:
    nothing = Versions((before, now), [], [], [], [], None, None, None, [])
    return said(versions.sentences, replace(nothing, **changed))


def sentences_of(outliers: OutlierSets) -> list[str]:
    return said(outlier_sets, outliers)


DARKER_SET = BRIGHTNESS._replace(a=0.52, b=0.42, range_of_others=(0.5, 0.55))
NOISIER_SET = NOISE._replace(range_of_others=(0.1, 0.1))
CLOSE_SET = PropertyDifference("contrast", 0.2, 0.204, 0.01, 0.01, 0.01, (0.196, 0.203))
NEAR = OneSet("near", 1.5)
FAR = OneSet("far", 8.0, p_value=0.2)
FURTHER = OneSet("x", 9.0, p_value=0.3)
RATIO, AT_LEAST = Ratio(3.14, 2.61, 3.77, 0.95), Ratio(None, 2.31, None, 0.95)
HELD = HeldOut("near", "test", RATIO, num_sets=2)
APART = replace(HELD, ratio=None, p_values=(0.3, 0.4), num_sets=3)
UNCLEAR = replace(HELD, ratio=None, p_values=(0.01, 0.2), further=0.2)
FIVE = [replace(FURTHER, name=str(i), p_value=0.2) for i in range(5)]
SEVERAL = [
    order(NEAR),
    order(replace(NEAR, shares_images=True)),
    order(NEAR, replace(FAR, p_value=None)),
    order(NEAR, replace(FAR, p_value=0.003), FURTHER),
    order(NEAR, FAR),
    order(NEAR, FAR, FURTHER),
    order(NEAR, FAR, replace(FURTHER, p_value=0.05)),
    order(NEAR, FAR, FURTHER, FURTHER),
    order(replace(NEAR, shares_images=True), FAR),
    order(NEAR, replace(FAR, shares_images=True)),
    order(NEAR, p_values=(0.3,)),
    order(NEAR, FAR, p_values=(0.3, 0.31)),
    order(NEAR, FAR, equal=("a",), p_values=(0.3, 0.31)),
    order(NEAR, replace(FAR, shares_images=True), p_values=(0.3, 0.31)),
    order(NEAR, FAR, held_out=replace(APART, num_sets=1), p_values=(0.3, 0.31)),
    order(NEAR, held_out=replace(APART, num_sets=1), p_values=(0.3,)),
    order(NEAR, held_out=replace(HELD, ratio=None, sharing=["test"]), p_values=(0.3,)),
    order(equal=("a", "b")),
    order(FAR, equal=("a",)),
    order(NEAR, FAR, equal=("a",)),
    order(NEAR, held_out=HELD),
    order(NEAR, held_out=replace(HELD, p_values=(0.001, 0.01))),
    order(NEAR, FAR, held_out=replace(HELD, p_values=(0.001, 0.01))),
    order(NEAR, held_out=replace(HELD, ratio=AT_LEAST, p_values=(0.01, 0.2))),
    *[
        order(NEAR, held_out=replace(HELD, ratio=ratio, p_values=(0.01, 0.2), further=p))
        for ratio in (None, Ratio(None, 0.9, None, 0.95))
        for p in (0.03, 0.3, None)
    ],
    *[
        order(NEAR, held_out=replace(UNCLEAR, further_in_any=p, furthest_in=where))
        for p, where in ((0.05, None), (0.05, "block_3"), (0.051, "block_3"))
    ],
    order(NEAR, held_out=replace(HELD, ratio=None, further=0.01, p_values=(0.3, 0.2), num_sets=1)),
    order(NEAR, held_out=replace(HELD, ratio=None, further=0.01, p_values=(0.3, 0.01), num_sets=1)),
    order(NEAR, FAR, held_out=HELD),
    order(NEAR, held_out=replace(HELD, ratio=None)),
    order(NEAR, held_out=replace(HELD, ratio=None, sharing=["near", "test"])),
    order(NEAR, held_out=replace(HELD, ratio=Ratio(1.01, 0.8, 1.32, 0.95))),
    order(NEAR, held_out=replace(HELD, ratio=Ratio(None, 1.02, None, 0.95))),
    order(NEAR, held_out=replace(HELD, ratio=Ratio(11.0, 9.0, 13.0, 0.95))),
    order(NEAR, held_out=replace(HELD, ratio=Ratio(None, 11.0, None, 0.95))),
    *[
        order(NEAR, held_out=replace(HELD, held_out=name))
        for name in ("held-out", "held_out/", "Heldout", "held-out_2", "unheld-out")
    ],
    order(NEAR, FAR, p_values=(0.3, 0.02)),
    order(NEAR, FAR, equal=("a",), p_values=(0.3, 0.02)),
    order(NEAR, FAR, FURTHER, p_values=(0.3, 0.06, 0.001)),
    order(NEAR, FAR, FURTHER, p_values=(0.3, 0.02, 0.004)),
    order(NEAR, FAR, FURTHER, held_out=APART, p_values=(0.3, 0.06, 0.001)),
    order(NEAR, FAR, FURTHER, held_out=replace(APART, p_values=(0.3, 0.01)), p_values=(0.3, 0.06, 0.001)),
    order(NEAR, *FIVE, held_out=APART, p_values=(0.3, *[0.01] * 5)),
    order(NEAR, replace(FAR, shares_images=True), p_values=(0.3, 0.02)),
    order(NEAR, FAR, p_values=(0.01, 0.02)),
    of_classes(None, None, None),
    of_classes(0.3, 0.2, None),
    of_classes(0.3, 0.02, 0.3),
    of_classes(0.01, 0.02, 0.3),
    sentences_of(OutlierSets(4, why_untested="b has 4 images, about 10 are needed")),
    sentences_of(OutlierSets(4, 0.31)),
    sentences_of(OutlierSets(4, 0.003)),
    sentences_of(OutlierSets(4, 0.0031, {"a": 0.0031}, 0.4)),
    sentences_of(OutlierSets(4, 0.0031, {"a": 0.0031}, 0.4, [DARKER_SET, NOISIER_SET])),
    sentences_of(OutlierSets(8, 0.0025, {"a": 0.0025, "c": 0.0075}, 0.4, [CLOSE_SET])),
    sentences_of(OutlierSets(20, 0.0025, dict.fromkeys(("a", "c", "near", "far", "x"), 0.0025), 0.4)),
    of_versions(
        46,
        81,
        added=["x"] * 35,
        renamed=[("a", "b")] * 2,
        edited=["y"] * 6,
        whole=AgainstKept(2.345),
        of_added=AgainstKept(23.5, 0.03),
        of_removed=AgainstKept(23.7, 0.21),
    ),
    of_versions(1, 1000, added=["x"] * 999),
    of_versions(9, 9, edited=["y"], of_added=AgainstKept(2.0, None, "b has 3 images", DISTANCES["kid"])),
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
    verdicts = [
        (function, figures) for function, figures in CALLS if function in (two_sets.sentences, several_sets.sentences)
    ]
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
    """Its verb and words stand in the registry entry of the property. The verb has a plural."""
    odd, name = Outlier(0, fault, 0.05, 0.2, 0.5), fault[:-2]
    alone = flagged_beside_reference(those_off([("1.png", odd)], 40, None, None), "theirs", "image")[1]
    many = flagged_beside_reference(
        those_off([(f"{i}.png", odd) for i in range(30)], 40, None, None), "theirs", "image"
    )[1]
    words = f"{FAULTS[fault].verb} {FAULTS[fault].words}"
    assert why_flagged(odd, "theirs", short=True) == words
    assert why_flagged(odd, "theirs", short=False).startswith(words + FAULTS[fault].details.format("theirs"))
    assert f"({name} " in why_flagged(odd, "theirs", short=False)
    assert alone.split(" ")[1] in ("is", "has", "looks", "shows")
    assert many.split(" ")[1] in ("are", "have", "look", "show")
    assert "{" not in alone + many
