"""Reduce per-neuron distances to one figure, with the weights of Eq. (5), a block of rows at a time."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Reduction = Literal["mean", "none"]
# Number of neurons at a time; torch splits sums of twice as many among threads.
_AT_ONCE = 1 << 14


def weigh_and_reduce(distances: Tensor, weights: Tensor | None, reduction: Reduction) -> Tensor:
    """Compute the weighted sum of distances ``(..., N)`` (Eq. 5), the plain mean without weights, or its terms times N.

    ValueError if weights have another shape or are not finite, or the reduction is unknown.
    """
    if weights is not None:
        distances = distances * check_weights(weights, distances.shape[-1]).to(distances.device) * distances.shape[-1]
    if reduction == "mean":
        return mean_over_neurons(distances)
    if reduction == "none":
        return distances
    raise ValueError(f"Argument `reduction` expected to be 'mean' or 'none', but got {reduction!r}")


def sum_over_neurons(values: Tensor) -> Tensor:
    """Sum over the last axis, bitwise independent of the number of threads and rows."""
    return torch.stack([chunk.sum(-1) for chunk in torch.split(values, _AT_ONCE, -1)]).sum(0)


def mean_over_neurons(values: Tensor) -> Tensor:
    """Average over the last axis, by :func:`sum_over_neurons`."""
    return sum_over_neurons(values) / values.shape[-1]


def check_weights(weights: Tensor | None, count: int, of: str = "neuron") -> Tensor:
    """Return weights in float64, or 1 / count for None. ValueError unless there is a finite one for each ``of``."""
    if weights is None:
        return torch.full((count,), 1 / count, dtype=torch.float64)
    weights = torch.as_tensor(weights, dtype=torch.float64)
    if weights.shape != (count,):
        raise ValueError(f"{of.capitalize()} weights expected to have shape ({count},), but got {tuple(weights.shape)}")
    bad = (~weights.isfinite()).nonzero()
    if len(bad):
        raise ValueError(f"{of.capitalize()} weights expected to be finite, but {of} {int(bad[0])} has NaN or infinity")
    return weights


def blocks(rows: int, columns: int, cells: int) -> list[slice]:
    """Return slices of rows, each with at most this number of cells."""
    size = max(1, cells // max(1, columns))
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]
