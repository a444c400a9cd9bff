"""Distances between all pairs of DNAs."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import torch

from torchmetrics_dna.binning.self_ranging import dyadic_grid
from torchmetrics_dna.functional.emd import dna_emd_on_grid
from torchmetrics_dna.functional.pairwise import pairwise_dna_emd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from torchmetrics_dna.dna.histogram import HistogramDNA


def pairwise_emd(dnas: Sequence[HistogramDNA]) -> Tensor:
    """Compute the dna-emd of each neuron, in bins, float64, ``(pairs, N)``; pairs ordered as in ``combinations``.

    Between self-ranging DNAs, the unit is the bin of the joint range of all DNAs, with its margin, under fixed bounds:
    it is the same for all pairs, so that the matrix is symmetric.
    """
    if not dnas[0].self_ranging:
        return pairwise_dna_emd([dna.counts for dna in dnas])
    united = dnas[0].known_ranges
    for dna in dnas[1:]:
        united = united.union(dna.known_ranges)
    grid = dyadic_grid(united.minimum, united.maximum, dnas[0].num_bins)
    counts = [dna.counts_within(united) for dna in dnas]
    pairs = combinations(counts, 2)
    return torch.stack([dna_emd_on_grid(a, b, grid, *united.bounds()) for a, b in pairs])


def pairwise_of(between: Any, sides: Sequence[Any]) -> Tensor:
    """Compute each pair separately, shape ``(pairs, N)`` or ``(pairs, layers)``."""
    return torch.stack([between(a, b) for a, b in combinations(sides, 2)])
