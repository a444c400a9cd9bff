"""Earth Mover's Distance between the histograms of two sets, neuron by neuron."""

from __future__ import annotations

import torch
from torch import Tensor

from torchmetrics_dna.functional.reduction import Reduction, weigh_and_reduce

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
    neurons, num_bins = counts_a.shape
    distances = torch.empty(neurons, dtype=torch.float64, device=counts_a.device)
    rows = max(1, _CHUNK // num_bins)
    for start in range(0, neurons, rows):
        chunk = slice(start, start + rows)
        difference = _cumulative_share(counts_a[chunk]).sub_(_cumulative_share(counts_b[chunk]))
        distances[chunk] = difference.abs_().sum(1)
    if distances.isnan().any():
        raise ValueError(f"Neuron {int(distances.isnan().nonzero()[0])} has no counts in one of the sets")
    return weigh_and_reduce(distances, weights, reduction)


def _cumulative_share(counts: Tensor) -> Tensor:
    """F of Eq. (3): integers are summed before the one division, so no rounding piles up."""
    cumulative = counts.cumsum(1).double()
    return cumulative.div_(cumulative[:, -1:].clone())
