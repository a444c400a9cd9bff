"""What contradicts a given DNA is an error that names both values."""

from __future__ import annotations

import pytest
from networks import pixels, random_images

from torchmetrics_dna import compare, make_dna, rank

EXTRACTOR, RANGES = pixels()
A, B = (random_images(6, seed).permute(0, 2, 3, 1).numpy() for seed in (0, 1))


def test_ranges() -> None:
    other = RANGES.union(type(RANGES)(RANGES.minimum - 1, RANGES.maximum + 1, RANGES.neurons))
    dna = make_dna(A, EXTRACTOR, ranges=RANGES)
    for call in (compare, rank):
        with pytest.raises(ValueError, match=f"`ranges` is {other.digest}, but the given DNA was .* {RANGES.digest}"):
            call(B, dna, EXTRACTOR, ranges=other)
