"""All sentences of results, from figures: the one place where they are written out."""

# ruff: noqa: E501 - sentences stand whole

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from torchmetrics_dna.comparisons.explanation import Explanation, PropertyDifference
from torchmetrics_dna.comparisons.verdict import (
    HeldOut,
    Off,
    OneSet,
    SeveralSets,
    TwoSets,
    against_kept,
    all_sets,
    classes,
    headline_and_distance,
    how_far,
    several_sets,
    two_sets,
    versions,
    what_was_measured,
    which_are_off,
    why_off,
)
from torchmetrics_dna.dna.evidence import Interval, Ratio
from torchmetrics_dna.functional.odd import Odd
from torchmetrics_dna.jobs.causes import Causes

INTERVAL = Interval(4.167, 3.5, 4.8, 0.95, 20, True)
BELOW_NOISE = Interval(0.0, 0.0, 0.52, 0.95, 20)
UNTESTED = TwoSets(("real", "made"), (24, 1200), emd=5.119)
LAYERS = {"a": 0.001, "b": 0.002, "c": 0.8, "d": 0.7}
DIFFERENT = replace(UNTESTED, interval=INTERVAL, p_value=0.0004, p_of_layers=LAYERS, times_chance=3.21)
ALIKE = replace(UNTESTED, emd=0.71, interval=BELOW_NOISE, p_value=0.3, null=0.745)
BLUR = Causes(("blur",), (1.1234,), (11.22, 2.13), 30)
TWO_CAUSES = Causes(("darker", "noise"), (30.0, 8.06), (1.0, 0.5, 0.0), 30)
BLACK, LAYER = Odd(0, "all black", 0, 0.1, 0.6), Odd(1, "block_4", 0, 0, 0)
BLURRED, NOISY = Odd(1, "sharpness -", 0.062, 0.21, 0.51), Odd(2, "noise floor +", 0.1, 0, 0.02)
OFF = Off([("3.png", BLACK), ("7.png", BLURRED)], 40, 0.4, 4)
NONE_OFF = Off([], 40, 0.4, 4)
BOTH = "3.png is all black; 7.png is much more blurred than any of real (sharpness 0.062; theirs 0.21 to 0.51)"
REST = "No other image of made is shown to stand out (p = 0.4); this test can hardly show fewer than 4."
SHARE = "so this test can't show whether they differ"
UNCORRECTED = "dna-emd, not corrected for sampling noise, since images of both are the same or nearly alike"
ALIKE_BY_DISTANCE = "dna-emd is 0.71 bins, and chance alone gives 0.745 at this size; corrected for sampling noise, it is at most 0.52 bins (95 % interval); p = 0.3."


def of(figures: TwoSets, **changed: Any) -> list[str]:
    return two_sets(replace(figures, **changed))


def because(p: float | None, causes: Causes | None = None, *, searched: bool = False) -> Explanation:
    return Explanation(p, [], causes, ("real", "made"), searched)


def measured(*differences: tuple[str, float, float, float, float]) -> list[str]:
    properties = [PropertyDifference(*difference, 0.01) for difference in differences]
    return what_was_measured(Explanation(0.01, properties))


def reason(of: str) -> str:
    return why_off(Odd(0, of, 0.05, 0.2, 0.5), "A")


TWO = [
    (of(TwoSets(), off=NONE_OFF), ["No single image of B is shown to stand out (p = 0.4); this test can hardly show fewer than 4."]),
    (of(TwoSets(emd=0.0), is_one_source=True), ["You gave the same images twice: A and B are the same images."]),
    (of(UNTESTED, emd=0.0, is_one_source=True), ["You gave real twice: A and B are the same images."]),
    (of(UNTESTED, emd=0.0), ["real and made are 0 bins apart: their histograms are equal, as those of the same images are."]),
    (of(UNTESTED, explanation=because(None)), [
        "real and made are 5.12 bins apart by dna-emd.",
        "Whether that is more than noise can't be said: a test takes images in 5 folds on each side; give about 20 images, or DNAs made with folds.",
    ]),
    (of(UNTESTED, interval=INTERVAL), [
        "real and made are 4.17 bins apart by dna-emd, corrected for sampling noise (95 % interval 3.5 to 4.8).",
        "Whether they differ can't be tested, since one side has no folds; give its images, or a DNA that was made with folds.",
    ]),
    (of(UNTESTED, p_value=0.01, explanation=because(0.01)), [
        "made differs from real.",
        "real and made are 5.12 bins apart by dna-emd. Whether that is more than noise can't be said: a test takes images in 5 folds on each side; give about 20 images, or DNAs made with folds.",
    ]),
    (of(DIFFERENT), [
        "made differs from real.",
        "dna-emd, corrected for sampling noise: 4.17 bins (95 % interval 3.5 to 4.8), most clearly in a and b; p ≤ 0.001. Uncorrected, it is 3.2 times what chance alone gives with 24 and 1,200 images.",
    ]),
    (of(DIFFERENT, p_of_layers={"a": 0.04, "b": 0.2}, num_images=(9, 9), times_chance=1.04), [
        "made differs from real.",
        "dna-emd, corrected for sampling noise: 4.17 bins (95 % interval 3.5 to 4.8), most clearly in a; p ≤ 0.001.",
    ]),
    (of(DIFFERENT, p_of_layers=dict.fromkeys("abcde", 0.04) | {"f": 1}, num_images=(1200, 1200)), [
        "made differs from real.",
        "dna-emd, corrected for sampling noise: 4.17 bins (95 % interval 3.5 to 4.8); p ≤ 0.001. Uncorrected, it is 3.2 times what chance alone gives with 1,200 images each.",
    ]),
    (of(DIFFERENT, interval=BELOW_NOISE, p_of_layers={"a": 0.1}, times_chance=None), [
        "made differs from real.",
        "dna-emd, corrected for sampling noise: below noise, at most 0.52 bins (95 % interval), in a few neurons and in no layer as a whole; p ≤ 0.001.",
    ]),
    (of(DIFFERENT, without_shift="no shift on average; 1 neuron differs", by_chance=5.2), [
        "made differs from real.",
        "dna-emd is 5.12 bins, and chance alone gives 5.2 at this size: no shift on average; 1 neuron differs (p ≤ 0.001).",
    ]),
    (of(DIFFERENT, shares_images=True, explanation=because(0.01, BLUR, searched=True)), [
        "made differs from real: real after a blur of about 1.1 px is 2.13 bins from made instead of 11.2.",
        f"{UNCORRECTED}: 5.12 bins, most clearly in a and b; p ≤ 0.001.",
    ]),
    (of(ALIKE), ["No difference between real and made can be shown.", ALIKE_BY_DISTANCE]),
    (of(ALIKE, p_of_properties=0.02), [
        "No difference between real and made can be shown by the network, but properties of their images differ (p = 0.02).",
        ALIKE_BY_DISTANCE,
    ]),
    (of(ALIKE, interval=replace(BELOW_NOISE, high=0.0)), [
        "No difference between real and made can be shown.",
        "dna-emd is 0.71 bins, less than the 0.745 that chance alone gives at this size; p = 0.3.",
    ]),
    (of(ALIKE, shares_images=True), [
        f"real and made share images, or have some that are nearly alike, {SHARE}.",
        f"{UNCORRECTED}: 0.71 bins; p = 0.3.",
    ]),
    (of(ALIKE, shares_images=True, p_of_properties=0.02), [
        f"real and made share images, or have some that are nearly alike, {SHARE}, but properties of their images do (p = 0.02).",
        f"{UNCORRECTED}: 0.71 bins; p = 0.3.",
    ]),
    (of(ALIKE, off=OFF), [
        f"No difference between real and made as a whole can be shown, but 2 of 40 images of made are beyond anything in real: {BOTH}.",
        ALIKE_BY_DISTANCE,
        REST,
    ]),
    (of(ALIKE, off=OFF, p_of_properties=0.02)[:1], [
        f"No difference between real and made as a whole can be shown by the network, but properties of their images differ (p = 0.02), and 2 of 40 images of made are beyond anything in real: {BOTH}.",
    ]),
    (of(DIFFERENT, times_chance=None, off=OFF)[2:], [
        f"2 of 40 images of made are beyond anything in real: {BOTH}. {REST}",
    ]),
    (two_sets(ALIKE, ["In the middle."]), [
        "No difference between real and made can be shown.", "In the middle.", ALIKE_BY_DISTANCE
    ]),
    (headline_and_distance(replace(ALIKE, off=OFF)), (  # of a page, which shows these images
        "No difference between real and made as a whole can be shown, but 2 of 40 images of made are beyond anything in real.",
        ALIKE_BY_DISTANCE,
    )),
    (which_are_off(Off([("1", BLACK)], 1, None, None), "the reference"),  # there are no others
     "1 of 1 image is beyond anything in the reference: 1 is all black."),
    (which_are_off(Off([], 6, 1.0, None, least=40), "the reference"),
     "No single image is shown to stand out (p = 1); this test can hardly show so few images. Images are judged one by one beside 40 images of the reference or more, not so few."),
    (which_are_off(Off([("1", BLACK), ("2", LAYER)], 60, 0.0121, 3, by_test=1), "the reference"),
     "2 of 60 images are beyond anything in the reference: 1 is all black; 2 is unlike the reference, most of all in block_4. 1 of these was found by a test of a few (p = 0.012)."),
    (which_are_off(Off([(str(i), LAYER) for i in range(7)], 60, 0.02, 3, by_test=7), "A"),
     "7 of 60 images are beyond anything in A: 0 is unlike A, most of all in block_4; 1 is unlike A, most of all in block_4; 2 is unlike A, most of all in block_4; 3 is unlike A, most of all in block_4; 4 is unlike A, most of all in block_4; and 2 more. 7 of these were found by a test of a few (p = 0.02)."),
    (which_are_off(Off([("1", BLACK)], 60, 0.02, 3, maybe=[*"23456789"]), "A", " of B"),
     "1 of 60 images of B is beyond anything in A: 1 is all black. Other images of B may be off as well (p = 0.02), first of all 2, 3, 4, 5, 6."),
    (which_are_off(Off([], 60, 0.02, 3, maybe=["2"]), "A"), "Some images may be off (p = 0.02), first of all 2."),
    (which_are_off(Off([(str(i), NOISY) for i in range(41)], 60, 0.3, 5), "A"),  # a reason of many
     "41 of 60 images are noisy, or finely patterned, even in their calmest parts; no image of A is. No other image is shown to stand out (p = 0.3); this test can hardly show fewer than 5."),
    (which_are_off(Off([("x", BLACK), *((str(i), BLURRED) for i in range(11))], 40, None, None), "A"),
     "12 of 40 images are beyond anything in A: 11 are much more blurred than any of A; x is all black."),
]  # fmt: skip
REASONS = [
    (reason("all black"), "is all black"),
    (reason("all white"), "is all white"),
    (reason("one colour"), "is of one colour; no image of A is"),
    (reason("no colour"), "has no colour; every image of A has"),
    (
        reason("noise floor +"),
        "is noisy, or finely patterned, even in its calmest parts; no image of A is (noise floor 6.4; theirs 26 to 64)",
    ),
    (reason("brightness +"), "is much brighter than any of A (brightness 0.05; theirs 0.2 to 0.5)"),
    (reason("brightness -"), "is much darker than any of A (brightness 0.05; theirs 0.2 to 0.5)"),
    (reason("contrast -"), "has hardly any contrast (contrast 0.05; theirs 0.2 to 0.5)"),
    (reason("dark pixels +"), "is nearly all dark (dark pixels 5 %; theirs 20 % to 50 %)"),
    (reason("bright pixels +"), "is overexposed (bright pixels 5 %; theirs 20 % to 50 %)"),
    (reason("saturation +"), "has stronger colours than any of A (saturation 0.05; theirs 0.2 to 0.5)"),
    (reason("saturation -"), "has hardly any colour (saturation 0.05; theirs 0.2 to 0.5)"),
    (reason("colours +"), "has far more colours than any of A, as noise gives (colours 0.05; theirs 0.2 to 0.5)"),
    (reason("colours -"), "has far fewer colours than any of A (colours 0.05; theirs 0.2 to 0.5)"),
    (reason("sharpness -"), "is much more blurred than any of A (sharpness 0.05; theirs 0.2 to 0.5)"),
    (reason("noise +"), "is much noisier than any of A (noise 0.05; theirs 0.2 to 0.5)"),
    (reason("flat areas +"), "is nearly all flat areas (flat areas 5 %; theirs 20 % to 50 %)"),
    (reason("pixelation +"), "is made of enlarged pixels (pixelation 0.05; theirs 0.2 to 0.5)"),
    (
        reason("blockiness +"),
        "shows blocks of 8 pixels, as strong JPEG compression leaves (blockiness 0.05; theirs 0.2 to 0.5)",
    ),
    (
        reason("peak brightness -"),
        "is dark all over: its brightest places are darker than those of any of A (peak brightness 0.05; theirs 0.2 to 0.5)",
    ),
    (reason("noise_1"), "is unlike A, most of all in noise_1"),
]
EXPLAINED = [
    (because(None).headline, ""),
    (because(0.3).headline, "No difference between real and made can be shown"),
    (because(0.01).headline, "made differs from real"),
    (because(0.01, searched=True).headline, "made differs from real; what causes it could not be named"),
    (because(0.01, TWO_CAUSES).headline,
     "made differs from real: real after darkening by about 30 % and noise of about 8.1 grey levels cannot be told from made; unchanged, it is 1 bin away"),
    (because(None, BLUR).sentences, ["real after a blur of about 1.1 px is 2.13 bins from made instead of 11.2."]),
    (str(because(None)), "No words are known for what differs between real and made."),
    (str(Explanation(0.04, [PropertyDifference("noise", 0.2, 0.1, 0.1, 0.1, 0.01)])),
     "B differs from A (p = 0.04). Measured in B against A: noise lower (0.2 to 0.1)."),
    (measured(("width", 0.5, 0.6, 0, 0), ("dark pixels", 0.2, 0.1, 0.1, 0.1), ("brightness", 0.2, 0.21, 0.1, 0.2)),
     ["Measured in B against A: larger width (256 pixels to 776 pixels); fewer dark pixels (20 % to 10 %); brightness varies more."]),
    (measured(("colours", 0.2, 0.21, 0.3, 0.2)), ["Measured in B against A: colours vary less."]),
    (measured(("PNG files", 1, 0, 0, 0), ("JPEG files", 0, 1, 0, 0)),  # which say the same
     ["Measured in B against A: more JPEG files (0 % to 100 %)."]),
    (measured(("PNG files", 1, 0, 0, 0)), ["Measured in B against A: fewer PNG files (100 % to 0 %)."]),
]  # fmt: skip


def order(*sets: OneSet, equal: tuple[str, ...] = (), held_out: HeldOut | None = None) -> str:
    return several_sets(SeveralSets("photos", "dna-emd", sets, equal, held_out))


NEAR, FAR, FURTHER = OneSet("near", "1.5 without noise"), OneSet("far", "8", p_value=0.2), OneSet("x", "9", p_value=0.3)
NEAREST = "near is nearest to photos (dna-emd 1.5 without noise)"
RATIO, AT_LEAST = Ratio(3.14, 2.61, 3.77, 0.95), Ratio(None, 2.31, None, 0.95)
HELD = HeldOut("near", "test", RATIO)
TIMES = "near is 3.1 times as far from photos as the held-out test (95 % 2.6 to 3.8)."
SEVERAL = [
    (order(NEAR), "near is the only set, dna-emd 1.5 without noise."),
    (order(OneSet("near", "1.5", shares_images=True)),
     "near is the only set, dna-emd 1.5; it shares images with photos, or has some that are nearly alike."),
    (order(NEAR, FAR._replace(p_value=None)), f"{NEAREST}; without folds of images nobody knows how surely."),
    (order(NEAR, FAR._replace(p_value=0.003), FURTHER), f"{NEAREST}, nearer than far (p = 0.003)."),
    (order(NEAR, FAR), f"{NEAREST}, but not surely nearer than far (p = 0.2)."),
    (order(NEAR, FAR, FURTHER), f"{NEAREST}, but not surely nearer than far and 1 other (p = 0.2)."),
    (order(NEAR, FAR, FURTHER, FURTHER), f"{NEAREST}, but not surely nearer than far and 2 others (p = 0.2)."),
    *[(order(*sets),
       f"{NEAREST}, but how surely can't be said: {name} shares images with photos, or has some that are nearly alike.")
      for sets, name in (((NEAR._replace(shares_images=True), FAR), "near"), ((NEAR, FAR._replace(shares_images=True)), "far"))],
    (order(equal=("a", "b")), "a, b: the same images as photos, dna-emd 0."),
    (order(FAR, equal=("a",)), "a: the same images as photos, dna-emd 0. The only other set is far, dna-emd 8."),
    (order(NEAR, FAR, equal=("a",)),
     f"a: the same images as photos, dna-emd 0. Of the others, {NEAREST}, but not surely nearer than far (p = 0.2)."),
    (order(NEAR, held_out=HELD), TIMES),
    (order(NEAR, FAR, held_out=HELD), f"{NEAREST}, but not surely nearer than far (p = 0.2). {TIMES}"),
    (order(NEAR, held_out=HELD._replace(ratio=AT_LEAST)),
     "near is at least 2.3 times as far from photos as the held-out test (95 %), which can't be told from photos."),
    *[(order(NEAR, held_out=HELD._replace(ratio=None, **why)).partition("noise. ")[2],
       f"How far near is beside the held-out test can't be said: {reason}.")
      for why, reason in (({}, "their noise hides it"), ({"is_tested": False}, "there are no folds of images"),
                          ({"sharing": ["near", "test"]}, "photos shares images with near and test, or has some nearly alike"))],
    (classes(3, None, "dog", "dna-emd 2"), "Of 3 classes, dog is furthest (dna-emd 2)."),
    (classes(3, 0, "dog", "dna-emd 2"), "Of 3 classes, none differs by more than chance (q ≤ 0.05)."),
    (classes(3, 1, "dog", "dna-emd 2"), "Of 3 classes, 1 differs (q ≤ 0.05), dog most (dna-emd 2)."),
    (classes(3, 2, "dog", "dna-emd 2"), "Of 3 classes, 2 differ (q ≤ 0.05), dog most (dna-emd 2)."),
    (all_sets("fd", 2, ("a", "b", 1.2), ("a", "b", 1.2)), "The two sets are 1.2 apart by fd."),
    (all_sets("fd", 3, ("a", "b", 1.2), ("b", "c", 30.0)),
     "Of 3 sets, a and b (fd 1.2) are nearest to each other, b and c (fd 30) are furthest apart."),
    (versions(46, 81, added=35, removed=0, renamed=2, edited=6, far=how_far(2.345, "bins", "dna-emd")),
     ["46 images before, 81 images now: 40 the same, 35 added, 0 removed.", "2 images the same under another name.",
      "6 images edited: other pixels under the same name.", "The two versions are 2.35 bins apart by dna-emd, noise included."]),
    (versions(1, 1000, added=999, removed=0, renamed=0, edited=0),
     ["1 image before, 1,000 images now: 1 the same, 999 added, 0 removed."]),
    (against_kept("added", how_far(2.0, "", "kid"), None),
     "The images added and those kept are 2 apart by kid, noise included; too few for a test."),
    (against_kept("added or edited", "2 bins apart", 0.03),
     "The images added or edited differ from those kept (2 bins apart, p = 0.03)."),
    (against_kept("removed", "2 bins apart", 0.3),
     "The images removed are not shown to differ from those kept (2 bins apart, p = 0.3)."),
]  # fmt: skip


@pytest.mark.parametrize(("said", "expected"), [*TWO, *REASONS, *EXPLAINED, *SEVERAL])
def test_what_is_said_of_figures(said: object, expected: object) -> None:
    assert said == expected
