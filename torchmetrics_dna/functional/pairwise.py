"""Distances between all pairs of sets."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from torchmetrics_dna.functional.emd import cumulative_share
from torchmetrics_dna.kernels.threads import in_threads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_CELLS = 1 << 20  # cumulative shares that a thread holds at a time: 8 MiB


def pairwise_dna_emd(counts: Sequence[Tensor]) -> Tensor:
    """Compute the Earth Mover's Distance of each neuron, Eq. (3) of the paper, between all pairs of K sets.

    Counts have shape ``(N, num_bins)``, none of 0 in all bins. Distances, float64, shape ``(K * (K - 1) / 2, N)``, have
    a row for each pair (0, 1), (0, 2), ..., (1, 2), ...

    Example:
        >>> pairwise_dna_emd([torch.tensor([[2, 0, 0]]), torch.tensor([[0, 1, 0]]), torch.tensor([[0, 0, 3]])])
        tensor([[1.],
                [2.],
                [1.]], dtype=torch.float64)

    """
    count, (neurons, num_bins) = len(counts), counts[0].shape
    distances = torch.empty(count * (count - 1) // 2, neurons, dtype=torch.float64, device=counts[0].device)
    step = max(1, _CELLS // (count * num_bins))

    def fill(first: int) -> None:
        shares = torch.stack(
            [cumulative_share(of_set[first : first + step].to(distances.device)) for of_set in counts], 1
        )
        for n, of_neuron in enumerate(shares, first):
            distances[:, n] = torch.nn.functional.pdist(of_neuron, p=1)

    in_threads(partial(fill, first) for first in range(0, neurons, step))
    return distances


def square(pairs: Tensor, count: int) -> Tensor:
    """Arrange distances of pairs, in the order of :func:`pairwise_dna_emd`, in a matrix ``(count, count)``.

    Example:
        >>> square(torch.tensor([1.0, 2.0, 3.0]), 3)
        tensor([[0., 1., 2.],
                [1., 0., 3.],
                [2., 3., 0.]])

    """
    matrix = pairs.new_zeros(count, count)
    rows, columns = torch.triu_indices(count, count, 1)
    matrix[rows, columns] = matrix[columns, rows] = pairs
    return matrix
