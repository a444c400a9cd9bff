"""Words for a difference: silent rather than wrong."""

from __future__ import annotations

import dnas
import numpy as np
import pytest

from torchmetrics_dna import DNAExtractor, compare
from torchmetrics_dna.comparisons.explanation import PropertyDifference, explain
from torchmetrics_dna.jobs.causes import Causes


def test_few_images_get_no_story(photos: list[np.ndarray]) -> None:
    single = compare(photos, photos[3:4], DNAExtractor(layers=["block_0"], properties=True))
    explanation = single.explain()
    assert (explanation.causes, explanation.properties, explanation.differs) == (None, [], None)


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
