"""What the two sides of a page are called."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from torchmetrics_dna.dna import DNA

if TYPE_CHECKING:
    from torchmetrics_dna.images import ImageSource, Source


def called(given: Source | DNA, side: ImageSource | DNA) -> str:
    """What to call a side: its path, or what it is."""
    if isinstance(given, (str, os.PathLike)):
        return os.fspath(given)
    return repr(side) if isinstance(side, DNA) else side.label
