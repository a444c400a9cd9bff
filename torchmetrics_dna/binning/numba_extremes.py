"""Extremes of neurons on the CPU in one pass over activations of any layout, compiled by numba."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torchmetrics_dna.binning.numba_tiles import covers, share_out
from torchmetrics_dna.numba_kernels import reach_neurons
from torchmetrics_dna.threads import in_threads

if TYPE_CHECKING:
    from torchmetrics_dna.binning.layouts import Parts

__all__ = ["covers", "extremes"]


def extremes(parts: Parts) -> Tensor:
    """Negated minimum and maximum of each neuron, float64, shape ``(2, N)``, of layers that are not empty.

    NaN where a value is not finite.
    """
    found = torch.empty(2, sum(layer.shape[1] for layer in parts[0].values()), dtype=torch.float64)
    into = found.numpy()
    in_threads(
        partial(reach_neurons, some.memory, some.layout, some.begin, some.end, some.first, into)
        for some in share_out(parts)
    )
    return found
