"""Earth Mover's Distance between the histograms of two sets, neuron by neuron."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from torchmetrics_dna.extras import optional
from torchmetrics_dna.functional.reduction import Reduction, blocks, weigh_and_reduce

# Largest number of counts of a neuron. float64 represents all integers up to this number exactly.
MOST_COUNTS = 2.0**53
# Largest number of bins whose cumulative shares are in memory at the same time, in float64: 8 MiB per set.
_CHUNK = 1 << 20


def dna_emd(counts_a: Tensor, counts_b: Tensor, weights: Tensor | None = None, reduction: Reduction = "mean") -> Tensor:
    r"""Compute the Earth Mover's Distance (dna-emd), Eq. (3) to (5) of the paper.

    .. math::
        \mathrm{EMD}_n = \sum_k |F_A^n[k] - F_B^n[k]|, \qquad
        \mathrm{EMD}_W = \sum_n W^n\, \mathrm{EMD}_n

    where :math:`F^n[k]` is the cumulative share of the counts of neuron n up to bin k. The unit is bins. If all values
    are shifted by one bin, the distance is 1. The largest possible distance is ``num_bins - 1``.

    Args:
        counts_a: Counts of A, shape ``(N, num_bins)``. Totals may differ between neurons and sets.
        counts_b: Counts of B, shape ``(N, num_bins)``.
        weights: Weights :math:`W^n`, shape ``(N,)``. By default, all weights are :math:`1/N`.
        reduction: ``"mean"`` returns :math:`\mathrm{EMD}_W`, a scalar. ``"none"`` returns its terms times N, shape
            ``(N,)``. Their mean is the scalar. Without weights, they are the :math:`\mathrm{EMD}_n`.

    Returns:
        Distances, float64.

    Raises:
        ValueError: If shapes differ, a neuron has no counts or too many, or weights are not finite.

    Example:
        >>> dna_emd(torch.tensor([[4, 0, 0], [1, 1, 0]]), torch.tensor([[0, 0, 9], [1, 1, 0]]))
        tensor(1., dtype=torch.float64)

    """
    if counts_a.ndim != 2 or counts_a.shape != counts_b.shape:
        raise ValueError(
            "Expected two sets of counts of the same shape (N, num_bins), but got"
            f" {tuple(counts_a.shape)} and {tuple(counts_b.shape)}"
        )
    compiled = compiled_for(counts_a, counts_b)
    compute_emd = compiled.emd_of_rows if compiled else emd_of_rows
    distances = compute_emd(counts_a, counts_b)
    check_counted(distances)
    return weigh_and_reduce(distances, weights, reduction)


def check_counted(distances: Tensor) -> None:
    """Raise ValueError for the first neuron whose distance is NaN."""
    bad = distances.isnan()
    if bad.any():
        raise ValueError(
            f"Neuron {int(bad.nonzero()[0])} has no counts in one of the sets, or more than the 2^53 that add up"
            " exactly; count its images anew"
        )


def emd_of_rows(counts_a: Tensor, counts_b: Tensor) -> Tensor:
    """Compute the EMD of each neuron (Eq. 3), float64, ``(N,)``.

    For neurons without counts, or with more than 2^53, the EMD is NaN.
    """
    distances = torch.empty(len(counts_a), dtype=torch.float64, device=counts_a.device)
    for rows, differences in _share_differences(counts_a, counts_b):
        distances[rows] = differences.abs_().sum(1)
    return distances


def compiled_for(*counts: Tensor) -> Any:
    """Return the module with compiled distances if it is installed and supports these counts, else None."""
    on_cpu = all(tensor.device.type == "cpu" and tensor.dtype == torch.int64 for tensor in counts)
    return optional("binning.cpu") if on_cpu else None


def _share_differences(counts_a: Tensor, counts_b: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield chunks of neurons, each with the differences between the cumulative shares of A and B, float64."""
    for chunk in blocks(len(counts_a), counts_a.shape[1], _CHUNK):
        yield chunk, cumulative_share(counts_a[chunk]).sub_(cumulative_share(counts_b[chunk]))


def cumulative_share(counts: Tensor) -> Tensor:
    """Compute the cumulative shares F of Eq. (3), float64, ``(N, num_bins)``.

    The sums are exact, and each is divided once. For neurons without counts, or with more than 2^53, the shares are
    NaN.
    """
    cumulative = counts.cumsum(1, dtype=torch.float64)
    totals = cumulative[:, -1:].clone()
    return cumulative.div_(totals.masked_fill_(totals > MOST_COUNTS, torch.nan))
