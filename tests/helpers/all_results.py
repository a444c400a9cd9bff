"""A small result of each kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from networks import pixels

from torchmetrics_dna import compare, make_dna, monitor, rank
from torchmetrics_dna.comparisons import diff, matrix
from torchmetrics_dna.demo import Demo

EXTRACTOR, RANGES = pixels()
FIXED: dict[str, Any] = {"ranges": RANGES, "num_bins": 40}
A, B, C = (np.random.default_rng(i).integers(0, 200 + 20 * i, (12, 8, 8, 3)).astype(np.uint8) for i in range(3))
CLASSES = ["x", "y"] * 6

RESULTS: dict[str, tuple[Callable[[], Any], str]] = {
    "two sets": (lambda: compare(A, B, EXTRACTOR, **FIXED), "Comparison("),
    "two sets by several distances": (
        lambda: compare(A, B, EXTRACTOR, metrics=["fd", "kid"], num_folds=None, **FIXED),
        "Comparison(",
    ),
    "a single image": (lambda: compare(A[:1], B, EXTRACTOR, **FIXED), "Comparison("),
    "several sets": (
        lambda: compare(A, {"b": B, "c": C}, EXTRACTOR, **FIXED),
        "Comparisons(2 sets with the reference, best ",
    ),
    "classes": (
        lambda: compare(A, B, EXTRACTOR, by=(CLASSES, CLASSES), num_folds=None, **FIXED),
        "ClassComparisons(2 classes, furthest ",
    ),
    "all with all": (
        lambda: matrix({"a": A, "b": B, "c": C}, EXTRACTOR, metrics=["dna-emd", "fd"], **FIXED),
        "DistanceMatrix(3 sets, dna-emd, fd)",
    ),
    "versions": (
        lambda: diff(A, np.concatenate([A[2:], C[:3]]), EXTRACTOR, **FIXED),
        "Versions(3 added, 2 removed, 0 edited of 12 images)",
    ),
    "a window": (lambda: next(monitor(A, B, EXTRACTOR, window=6, **FIXED)), "Window("),
    "a ranking": (lambda: rank(A, B, EXTRACTOR, **FIXED), "Ranking(12 images, "),
    "what was measured": (lambda: compare(A, B, EXTRACTOR, **FIXED).measured[0], "Measured("),
    "a demonstration": (
        lambda: Demo(2, (1,), {"blur": [compare(A, B, EXTRACTOR, **FIXED)]}, {}, {"blur": list(A[:2])}),
        "Demo(",
    ),
    "a DNA": (lambda: make_dna(A, EXTRACTOR, **FIXED), "HistogramDNA(12 images, "),
}
