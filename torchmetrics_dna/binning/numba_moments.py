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
    from torch import Tensor

__all__ = ["covers", "spatial_means"]


def spatial_means(activations: Tensor) -> Tensor:
    """Mean over positions, float64, shape ``(n, B)``, for ``(B, n, *positions)`` that are not empty."""
    sums = torch.empty(activations.shape[:2], dtype=torch.float64)
    into = sums.numpy()
    in_threads(
        partial(sum_neurons, part.memory, part.layout, part.begin, part.end, into)
        for part in share_out({"activations": activations})
    )
    return sums.div_(prod(activations.shape[2:])).T
