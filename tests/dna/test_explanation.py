"""Words for a difference: silent rather than wrong."""

from __future__ import annotations

import pytest

from torchmetrics_dna import DNAExtractor, compare
from torchmetrics_dna.demo import photographs
from torchmetrics_dna.dna.changes import NamedChange
from torchmetrics_dna.dna.explanation import Explanation, PropertyDifference, explain
from torchmetrics_dna.images.changes import change_image

PHOTOS = photographs(24)


def test_headlines() -> None:
    changes = [NamedChange("blur", 2.5), NamedChange("darker", 2.5)]
    words = "B differs from A: it looks like A after a blur of about 1.4 px and darkening by about 30 % (at 224 px),"
    assert Explanation(0.01, [], changes, 0.38).headline == f"{words} which accounts for 62 % of the difference"
    untested = Explanation(None, [], changes[1:], 0.38, ("x", "y")).headline
    assert untested.startswith(
        "y looks like x after darkening by about 30 %, which accounts for 62 % of the difference;"
    )
    assert Explanation(0.3, [], [], None).headline == "No difference between A and B can be shown"
    assert Explanation(0.01, [], [], 0.9).headline.endswith(" accounts for half of the difference")
    assert Explanation(0.01, [], None, None).headline == "B differs from A"
    assert Explanation(0.01, [], [], 0.2).headline == "B differs from A"  # a property contradicts the change


def test_another_format_is_told_once() -> None:
    more, fewer = (PropertyDifference(f"{name} files", a, 1 - a, 0, 0, 0.01) for name, a in (("JPEG", 0), ("PNG", 1)))
    both = Explanation(0.01, [fewer, more], None, None).property_sentences
    assert both == ["Images of B against those of A: more JPEG files (0 % to 100 %)."]
    mixed = Explanation(0.01, [fewer], None, None).property_sentences
    assert mixed == ["Images of B against those of A: fewer PNG files (100 % to 0 %)."]


def test_few_images_get_no_story() -> None:
    single = compare(PHOTOS[:12], PHOTOS[3:4], DNAExtractor(properties=True))
    assert (single.explain().changes, single.explain().properties) == (None, [])
    assert single.verdict.startswith("A and B are ")
    assert "looks like" not in single.verdict


@pytest.mark.parametrize(
    ("name", "moved", "up"),
    [
        ("noise", "noise", 1), ("salt-and-pepper noise", "noise", 1), ("speckle noise", "noise", 1),
        ("blur", "sharpness", -1), ("sharpening", "sharpness", 1), ("JPEG compression", "blockiness", 1),
        ("pixelation", "pixelation", 1), ("brighter", "brightness", 1), ("more contrast", "contrast", 1),
        ("fog", "contrast", -1), ("more saturation", "saturation", 1), ("warmer", "blue against yellow", -1),
        ("cooler", "blue against yellow", 1), ("fewer colours", "colours", -1), ("occlusion", "dark pixels", 1),
    ],
)  # fmt: skip
def test_a_measured_property_can_contradict(name: str, moved: str, up: int) -> None:
    result = compare(PHOTOS[:12], [change_image(photo, name, 3) for photo in PHOTOS[:12]], num_folds=None)
    a, b = (side.any for side in result.measured)
    for sign, changes in ((up, [name]), (-up, [])):
        measured = PropertyDifference(moved, 0.2, 0.2 + sign / 10, 0.05, 0.05, None)
        explanation = explain(a, b, None, result.changes, properties=[measured])
        assert [change.name for change in explanation.changes] == changes
