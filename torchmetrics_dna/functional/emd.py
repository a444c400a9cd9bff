"""Earth Mover's Distance between the histograms of two sets, neuron by neuron."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from torchmetrics_dna.binning.bins import clipping_bounds
from torchmetrics_dna.extras import optional
from torchmetrics_dna.functional.reduction import Reduction, weigh_and_reduce

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torchmetrics_dna.binning.self_ranging import Grid

_CHUNK = 1 << 20  # cells whose cumulative shares are held in float64 at a time: 8 MiB a side


def dna_emd(counts_a: Tensor, counts_b: Tensor, weights: Tensor | None = None, reduction: Reduction = "mean") -> Tensor:
    r"""Earth Mover's Distance (dna-emd), Eq. (3) to (5) of the paper.

    .. math::
        \mathrm{EMD}_n = \sum_k |F_A^n[k] - F_B^n[k]|, \qquad
        \mathrm{EMD}_W = \sum_n W^n\, \mathrm{EMD}_n

    with :math:`F^n[k]` the cumulative share of neuron n's counts up to bin k. The unit is bins: shifting
    all values by one bin gives 1, and the largest possible distance is ``num_bins - 1``.

    Args:
        counts_a: Shape ``(N, num_bins)``; neurons need not have equal totals, nor the two sets.
        counts_b: Shape ``(N, num_bins)``.
        weights: The :math:`W^n`, shape ``(N,)``. Default: :math:`1/N` each, the plain mean.
        reduction: ``"mean"``: the weighted sum above, a scalar. ``"none"``: its terms times N, shape
            ``(N,)``, so that their mean is the scalar; without weights they are the plain distances.

    Returns:
        float64.

    Raises:
        ValueError: If shapes differ, a neuron has no counts, or weights are not finite.

    Example:
        >>> dna_emd(torch.tensor([[4, 0, 0], [1, 1, 0]]), torch.tensor([[0, 0, 9], [1, 1, 0]]))
        tensor(1., dtype=torch.float64)

    """
    if counts_a.ndim != 2 or counts_a.shape != counts_b.shape:
        raise ValueError(
            "Expected two sets of counts of the same shape (N, num_bins), but got"
            f" {tuple(counts_a.shape)} and {tuple(counts_b.shape)}"
        )
    fast = _fast(counts_a, counts_b)
    distances = (fast.emd_of_rows if fast else emd_of_rows)(counts_a, counts_b)
    if distances.isnan().any():
        raise ValueError(f"Neuron {int(distances.isnan().nonzero()[0])} has no counts in one of the sets")
    return weigh_and_reduce(distances, weights, reduction)


def emd_of_rows(counts_a: Tensor, counts_b: Tensor) -> Tensor:
    """The EMD of Eq. (3) of each neuron, float64, shape ``(N,)``; NaN where one has no counts."""
    distances = torch.empty(len(counts_a), dtype=torch.float64, device=counts_a.device)
    for rows, differences in _share_differences(counts_a, counts_b):
        distances[rows] = differences.abs_().sum(1)
    return distances


def dna_emd_on_grid(counts_a: Tensor, counts_b: Tensor, grid: Grid, low: Tensor, high: Tensor) -> Tensor:
    r"""Earth Mover's Distance of each neuron between self-ranging histograms on one grid, in bins of given bounds.

    What fixed bounds would give, up to their own bins: :math:`\int |F_A - F_B|` over the bounds, with F linear within
    a bin of the grid, in units of a ``num_bins``-th of the bounds.

    Args:
        counts_a: Shape ``(N, num_bins)``.
        counts_b: Shape ``(N, num_bins)``.
        grid: Of both.
        low: Lower bounds, shape ``(N,)``, float64.
        high: Upper bounds, shape ``(N,)``, float64.

    Returns:
        float64, shape ``(N,)``.

    """
    begin, end, per_bounds = bounds_on_grid(grid, low, high)
    fast = _fast(counts_a, counts_b)
    areas = (fast.area_of_rows if fast else area_of_rows)(counts_a, counts_b, begin, end)
    return areas * (counts_a.shape[1] * per_bounds)


def bounds_on_grid(grid: Grid, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Position of bounds on a grid: where they begin and end, in its bins, and the share of them that a bin takes.

    Args:
        grid: Of N neurons.
        low: Lower bounds, shape ``(N,)``, float64.
        high: Upper bounds, shape ``(N,)``, float64.

    Returns:
        Three tensors of shape ``(N,)``, float64.

    """
    low, high = clipping_bounds(low, high)
    begin, end = (bound / grid.width - grid.start for bound in (low, high))
    return begin, end, grid.width / (high - low)


def area_of_rows(counts_a: Tensor, counts_b: Tensor, begin: Tensor, end: Tensor) -> Tensor:
    """Area between the cumulative shares of each neuron, linear within bins, in bins, float64, shape ``(N,)``.

    Args:
        counts_a: Shape ``(N, num_bins)``.
        counts_b: Likewise.
        begin: Where the area begins, in bins, float64, shape ``(N,)``; may lie outside.
        end: Where it ends.

    """
    neurons, num_bins = counts_a.shape
    found = torch.empty(neurons, dtype=torch.float64, device=counts_a.device)
    number = torch.arange(num_bins, dtype=torch.float64, device=counts_a.device)
    for rows, after in _share_differences(counts_a, counts_b):
        before = torch.nn.functional.pad(after, (1, 0))[:, :-1]
        # how far into each bin the area begins and ends, from 0 to 1
        first, last = ((place[rows, None] - number).clamp_(0, 1) for place in (begin, end))
        slope = after - before
        found[rows] = _area(before + slope * first, before + slope * last, last - first).sum(1)
    return found


def _fast(*counts: Tensor) -> Any:
    """Compiled distances, where there are some for these counts."""
    on_cpu = all(one.device.type == "cpu" and one.dtype == torch.int64 for one in counts)
    return optional("functional.cpu") if on_cpu else None


def _area(left: Tensor, right: Tensor, length: Tensor) -> Tensor:
    """Integral of the absolute value of what runs straight from left to right."""
    both = left.abs() + right.abs()
    crossing = (left.square() + right.square()) / both.clamp(min=torch.finfo(torch.float64).tiny)
    return torch.where(left * right < 0, crossing, both) * (length / 2)


def _share_differences(counts_a: Tensor, counts_b: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Differences of cumulative shares, float64, some neurons at a time."""
    rows = max(1, _CHUNK // counts_a.shape[1])
    for first in range(0, len(counts_a), rows):
        some = slice(first, first + rows)
        yield some, cumulative_share(counts_a[some]).sub_(cumulative_share(counts_b[some]))


def cumulative_share(counts: Tensor) -> Tensor:
    """F of Eq. (3): integers, below 2^53, are summed before the one division, so no rounding piles up."""
    cumulative = counts.cumsum(1, dtype=torch.float64)
    return cumulative.div_(cumulative[:, -1:].clone())
