"""Two small image sets, and the distances between them by name."""

from __future__ import annotations

import numpy as np
from networks import pixels

from torchmetrics_dna.comparisons.comparison import Comparison
from torchmetrics_dna.dna.distances import DISTANCES

EXTRACTOR, RANGES = pixels()
_random = np.random.default_rng(0)
A, B = (_random.integers(0, top, (count, 6, 5, 3)).astype(np.uint8) for top, count in ((256, 23), (200, 17)))
ALL = tuple(DISTANCES)


def figures(comparison: Comparison) -> dict[str, float]:
    return {name: result.value for name, result in comparison.items()}
