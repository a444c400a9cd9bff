"""Two small image sets, and an extractor whose activations are their pixels."""

from __future__ import annotations

import numpy as np
from networks import pixels

EXTRACTOR, RANGES = pixels()
_random = np.random.default_rng(0)
A, B = (_random.integers(0, top, (count, 6, 5, 3)).astype(np.uint8) for top, count in ((256, 23), (200, 17)))
