"""What a process does that has no numba."""

from __future__ import annotations

from contextlib import AbstractContextManager
from unittest.mock import patch


def without_numba(when: bool = True) -> AbstractContextManager[object]:
    """Let torch, numpy and Pillow do all in this block, in place of compiled functions."""
    return patch("torchmetrics_dna.extras._given_up", {"numba"} if when else set())
