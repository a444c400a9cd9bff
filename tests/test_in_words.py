"""Sentences say what the numbers are."""

from __future__ import annotations

import numpy as np
from networks import Pixels

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.comparisons.distance_matrix import matrix

IMAGES = np.random.default_rng(0).integers(0, 200, (3, 9, 8, 7, 3)).astype(np.uint8) + np.arange(3, dtype=np.uint8)[
    :, None, None, None, None
] * np.uint8(20)


def test_a_matrix_of_two_sets_has_no_nearest_pair() -> None:
    sets = dict(zip(("one", "two", "three"), IMAGES, strict=True))
    two = {name: sets[name] for name in ("one", "two")}
    extractor = DNAExtractor(Pixels())
    assert "nearest" not in matrix(two, extractor, ranges="auto").verdict
    of_three = matrix(sets, extractor, ranges="auto").verdict
    nearest, furthest = of_three.split("nearest")
    assert "one and two" in nearest or "two and three" in nearest
    assert "one and three" in furthest
