"""Reduce the distances of neurons to one value, with the weights of Eq. (5)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Reduction = Literal["mean", "none"]
# Number of neurons that are summed at once. torch divides sums of twice as many neurons among threads, which changes
# rounding.
_AT_ONCE = 1 << 14


def weigh_and_reduce(distances: Tensor, weights: Tensor | None, reduction: Reduction) -> Tensor:
    """Reduce the distances of neurons to their weighted sum (Eq. 5).

    Args:
        distances: Distances, ``(..., N)``.
        weights: Weights of the neurons, ``(N,)``, or None for equal weights.
        reduction: ``"mean"`` returns the weighted sum, ``(...)``. ``"none"`` returns its terms times N, ``(..., N)``.

    Raises:
        ValueError: If weights have another shape or are not finite, or the reduction is unknown.

    """
    if weights is not None:
        num_neurons = distances.shape[-1]
        distances = distances * check_weights(weights, num_neurons).to(distances.device) * num_neurons
    if reduction == "mean":
        return mean_over_neurons(distances)
    if reduction == "none":
        return distances
    raise ValueError(f"Argument `reduction` expected to be 'mean' or 'none', but got {reduction!r}")


def sum_over_neurons(values: Tensor) -> Tensor:
    """Sum over the last axis. The result does not depend on the number of threads or rows, not even by rounding."""
    sums = [chunk.sum(-1) for chunk in torch.split(values, _AT_ONCE, -1)]
    return torch.stack(sums).sum(0)


def mean_over_neurons(values: Tensor) -> Tensor:
    """Average over the last axis. Like :func:`sum_over_neurons`, it does not depend on the number of threads."""
    return sum_over_neurons(values) / values.shape[-1]


def check_weights(weights: Tensor | None, count: int, noun: str = "neuron") -> Tensor:
    """Return weights in float64.

    Args:
        weights: Weights, ``(count,)``, or None for equal weights that add up to 1.
        count: Number of weights.
        noun: Name of what has a weight, for messages.

    Raises:
        ValueError: If weights have another shape, or are not finite.

    """
    if weights is None:
        return torch.full((count,), 1 / count, dtype=torch.float64)
    weights = torch.as_tensor(weights, dtype=torch.float64)
    subject = f"{noun.capitalize()} weights"
    if weights.shape != (count,):
        raise ValueError(f"{subject} expected to have shape ({count},), but got {tuple(weights.shape)}")
    bad = (~weights.isfinite()).nonzero()
    if len(bad):
        raise ValueError(f"{subject} expected to be finite, but {noun} {int(bad[0])} has NaN or infinity")
    return weights


def blocks(rows: int, columns: int, cells: int) -> list[slice]:
    """Divide the rows of a table into slices.

    Args:
        rows: Number of rows.
        columns: Number of columns.
        cells: Maximum number of cells per slice. A slice has at least one row.

    """
    size = max(1, cells // max(1, columns))
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]
