"""Names of the two sides of a page."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from torchmetrics_dna.dna import DNA

if TYPE_CHECKING:
    from torchmetrics_dna.images import ImageSource, Source


def label(source: Source | DNA, side: ImageSource | DNA) -> str:
    """Return the name of a side: its path as given, or a description of it."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    return repr(side) if isinstance(side, DNA) else side.label
