"""Sentences say what the numbers are."""

from __future__ import annotations

import numpy as np
from networks import Pixels

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.comparisons.distance_matrix import matrix
from torchmetrics_dna.files.tables import Table

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


def test_latex_knows_all_signs() -> None:
    table = Table(["a² ± 1", "↑"], [["≤ 5 %", "x_1 & ~"]], "")
    assert table.latex().isascii()
    assert r"a$^2$ $\pm$ 1" in table.latex()
