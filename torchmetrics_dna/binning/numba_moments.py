"""Spatial means on the CPU in one pass over activations of any layout, compiled by numba."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import TYPE_CHECKING

import torch

from torchmetrics_dna.binning.numba_tiles import covers, share_out
from torchmetrics_dna.numba_kernels import sum_neurons
from torchmetrics_dna.threads import in_threads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["covers", "spatial_means"]


def spatial_means(pieces: Sequence[Tensor]) -> Tensor:
    """Mean over positions, float64, shape ``(n, B)``, for pieces ``(b, n, *positions)`` that are not empty."""
    sums = torch.empty(sum(map(len, pieces)), pieces[0].shape[1], dtype=torch.float64)
    into = sums.numpy()
    in_threads(
        partial(sum_neurons, some.memory, some.layout, some.begin, some.end, into)
        for some in share_out([{"activations": piece} for piece in pieces])
    )
    return sums.div_(prod(pieces[0].shape[2:])).T
