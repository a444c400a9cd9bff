"""All ways of counting under one signature, so that one test holds them all to the same counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest
import torch
from layouts import LAYOUTS, laid_out
from torch import Tensor

from torchmetrics_dna.binning import Bins, add_moments_, bins_within, cpu, cuda, histogram
from torchmetrics_dna.binning.histogram import check_finite
from torchmetrics_dna.binning.layouts import placed

Parts = Sequence[Mapping[str, Tensor]]
Count = Callable[[Tensor, Parts, Bins], None]
TRITON_DEVICE = "cuda" if torch.cuda.is_available() else "cpu"  # on which Triton interprets, see conftest


def plainly(counts: Tensor, parts: Parts, bins: Bins) -> None:
    check_finite(parts)
    histogram.add_counts_(counts, parts, bins)


def moments_of(activations: Tensor) -> Tensor:
    """Sums and sums of squares of a single layer's spatial means, ``(2, n)``."""
    moments = torch.zeros(2, activations.shape[1], dtype=torch.float64)
    add_moments_(moments, [{"activations": activations}])
    return moments


def by_numba(counts: Tensor, parts: Parts, bins: Bins) -> None:
    assert cpu.covers(parts, bins.num_bins)
    cpu.add_counts_(counts, parts, bins)


def by_triton(counts: Tensor, parts: Parts, bins: Bins) -> None:
    check_finite(parts)
    on_device = counts.to(TRITON_DEVICE)
    on_triton = [{layer: values.to(TRITON_DEVICE) for layer, values in part.items()} for part in parts]
    bins = bins.to(torch.device(TRITON_DEVICE))
    for rows, layer in placed(on_triton):
        cuda.add_layer_(on_device[rows], layer, bins.take(rows))
    counts.copy_(on_device)


__all__ = ["LAYOUTS", "TRITON_DEVICE", "WAYS", "every_cut", "histogram_by", "in_parts", "laid_out", "moments_of"]
WAYS: dict[str, Count] = {"torch": plainly, "numba": by_numba, "triton": by_triton}


def histogram_by(way: str, activations: Tensor, low: Tensor, high: Tensor, num_bins: int) -> Tensor:
    """Count a histogram like ``activation_histogram``, by one of ``WAYS``."""
    counts = torch.zeros(activations.shape[1], num_bins, dtype=torch.int64)
    WAYS[way](counts, [{"activations": activations}], bins_within(low, high, num_bins))
    return counts


def _unlike(values: Tensor) -> list[Tensor]:
    """Pieces of two layouts: neurons lie together in the last one."""
    return [values[:1], values[1:].transpose(1, -1).contiguous().transpose(1, -1)]


# how a batch may come in parts: views of one memory, or memory of their own, also in another order than the images
CUTS: dict[str, Callable[[Tensor], Sequence[Tensor]]] = {
    "one by one": lambda values: torch.split(values, 1),
    "backwards": lambda values: [piece.flip(0) for piece in reversed(torch.split(values.flip(0), 2))],
    "with an empty part": lambda values: [values[:0].clone(), values.clone(), values[:0]],
    "layouts that differ": _unlike,
}
every_cut = pytest.mark.parametrize("cut", CUTS)


def in_parts(values: Tensor, cut: str) -> list[dict[str, Tensor]]:
    """A batch of two layers, the first with twice the values, cut like this."""
    return [{"double": piece * 2, "activations": piece} for piece in CUTS[cut](values)]
