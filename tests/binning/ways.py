"""All ways of counting under one signature, so that one test holds them all to the same counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from torchmetrics_dna.binning import Bins, bins_within, histogram, numba_histogram, triton_histogram
from torchmetrics_dna.binning.histogram import check_finite

Count = Callable[[Tensor, Mapping[str, Tensor], Bins], None]
TRITON_DEVICE = "cuda" if torch.cuda.is_available() else "cpu"  # on which Triton interprets, see conftest


def plainly(counts: Tensor, activations: Mapping[str, Tensor], bins: Bins) -> None:
    check_finite(activations)
    histogram.add_counts_(counts, activations, bins)


def by_numba(counts: Tensor, activations: Mapping[str, Tensor], bins: Bins) -> None:
    assert numba_histogram.covers(activations, bins.num_bins)
    numba_histogram.add_counts_(counts, activations, bins)


def by_triton(counts: Tensor, activations: Mapping[str, Tensor], bins: Bins) -> None:
    check_finite(activations)
    on_device = counts.to(TRITON_DEVICE)
    there = {layer: values.to(TRITON_DEVICE) for layer, values in activations.items()}
    triton_histogram.add_counts_(on_device, there, bins.to(torch.device(TRITON_DEVICE)))
    counts.copy_(on_device)


WAYS: dict[str, Count] = {"torch": plainly, "numba": by_numba, "triton": by_triton}


def histogram_by(way: str, activations: Tensor, low: Tensor, high: Tensor, num_bins: int) -> Tensor:
    """As ``activation_histogram``."""
    counts = torch.zeros(activations.shape[1], num_bins, dtype=torch.int64)
    WAYS[way](counts, {"activations": activations}, bins_within(low, high, num_bins))
    return counts
