"""Words for a difference: silent rather than wrong."""

from __future__ import annotations

import dnas
import numpy as np
import pytest

from torchmetrics_dna import DNAExtractor, compare
from torchmetrics_dna.dna.explanation import Causes, Explanation, PropertyDifference, explain

BLUR = Causes(("blur",), (1.1234,), (11.22, 2.13), 30)


def test_headlines() -> None:
    said = "y differs from x: x after a blur of about 1.1 px is 2.13 bins from y instead of 11.2"
    assert Explanation(0.01, [], BLUR, ("x", "y"), True).headline == said
    one_bin = Causes(("noise",), (8.0,), (1.0, 0.0), 30)
    assert one_bin.sentence("A", "B").endswith("unchanged, it is 1 bin away")
    both = Causes(("darker", "noise"), (30.0, 8.06), (11.22, 2.13, 0.0), 30)
    assert Explanation(0.01, [], both, is_searched=True).headline.endswith(
        "A after darkening by about 30 % and noise of about 8.1 grey levels cannot be told from B; unchanged, it is"
        " 11.2 bins away"
    )
    assert Explanation(0.3, []).headline == "No difference between A and B can be shown"
    assert Explanation(0.01, [], is_searched=True).headline == ("B differs from A; what causes it could not be named")
    assert Explanation(0.01, []).headline == "B differs from A"
    assert Explanation(None, []).headline == ""


def test_another_format_is_told_once() -> None:
    more, fewer = (PropertyDifference(f"{name} files", a, 1 - a, 0, 0, 0.01) for name, a in (("JPEG", 0), ("PNG", 1)))
    both = Explanation(0.01, [fewer, more]).property_sentences
    assert both == ["Measured in B against A: more JPEG files (0 % to 100 %)."]
    mixed = Explanation(0.01, [fewer]).property_sentences
    assert mixed == ["Measured in B against A: fewer PNG files (100 % to 0 %)."]


def test_few_images_get_no_story(photos: list[np.ndarray]) -> None:
    single = compare(photos, photos[3:4], DNAExtractor(layers=["block_0"], properties=True))
    assert (single.causes, single.explain().properties) == (None, [])
    assert single.verdict.startswith("A and B are ")
    assert " after " not in single.verdict


@pytest.mark.parametrize(
    ("name", "moved", "up"),
    [
        ("noise", "noise", 1), ("blur", "sharpness", -1), ("resize", "width", -1),
        ("JPEG compression", "blockiness", 1), ("brighter", "brightness", 1), ("darker", "brightness", -1),
        ("more contrast", "contrast", 1), ("less contrast", "contrast", -1), ("more saturation", "saturation", 1),
        ("less saturation", "saturation", -1), ("warmer", "blue against yellow", -1),
        ("cooler", "blue against yellow", 1),
    ],
)  # fmt: skip
def test_a_measured_property_can_contradict(name: str, moved: str, up: int) -> None:
    a = b = dnas.gaussian()
    causes = Causes((name,), (1.0,), (9.0, 1.0), 12)
    for sign, expected in ((up, causes), (-up, None)):
        measured = PropertyDifference(moved, 0.2, 0.2 + sign / 10, 0.05, 0.05, None)
        assert explain(a, b, None, properties=[measured], causes=causes).causes == expected
