"""All ways of counting under one signature, so that one test holds them all to the same counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
import torch
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
    there = [{layer: values.to(TRITON_DEVICE) for layer, values in part.items()} for part in parts]
    bins = bins.to(torch.device(TRITON_DEVICE))
    for here, layer in placed(there):
        cuda.add_layer_(on_device[here], layer, bins.take(here))
    counts.copy_(on_device)


WAYS: dict[str, Count] = {"torch": plainly, "numba": by_numba, "triton": by_triton}


def histogram_by(way: str, activations: Tensor, low: Tensor, high: Tensor, num_bins: int) -> Tensor:
    """As ``activation_histogram``."""
    counts = torch.zeros(activations.shape[1], num_bins, dtype=torch.int64)
    WAYS[way](counts, [{"activations": activations}], bins_within(low, high, num_bins))
    return counts


# what networks give, and what users may make of it: (shape, the order of axes in memory, what is cut out)
LAYOUTS = {
    "convolution": ((3, 5, 6, 7), (0, 1, 2, 3), ...),
    "channels last": ((3, 21, 6, 7), (0, 2, 3, 1), ...),
    "tokens": ((2, 70, 45), (0, 2, 1), ...),
    "pooled": ((9, 70), (0, 1), ...),
    "pooled, transposed": ((9, 70), (1, 0), ...),
    "many positions": ((2, 3, 50, 60), (0, 1, 2, 3), ...),
    "a window": ((2, 5, 12, 14), (0, 1, 2, 3), np.s_[:, :, 2:9, 3:11]),
    "a window of channels last": ((2, 40, 9, 9), (0, 2, 3, 1), np.s_[:, 1:38, 2:9, 3:8]),
    "every other": ((4, 9, 8, 8), (0, 1, 2, 3), np.s_[::2, ::2, ::2, ::2]),
    "every other token": ((2, 70, 45), (0, 2, 1), np.s_[:, 1::3, ::2]),
    "volumes": ((2, 5, 3, 4, 5), (0, 1, 2, 3, 4), ...),
    "windows of volumes": ((2, 5, 3, 4, 5), (0, 1, 2, 3, 4), np.s_[:, :, 1:, 1:, 1:]),
    "one neuron": ((4, 1, 6), (0, 2, 1), ...),
    "one value": ((1, 1), (0, 1), ...),
    "no images": ((0, 5, 3), (0, 1, 2), ...),
    "no neurons": ((2, 0, 3), (0, 1, 2), ...),
    "no positions": ((2, 3, 0), (0, 1, 2), ...),
}


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


def laid_out(layout: str, dtype: torch.dtype) -> Tensor:
    """Activations that lie in memory like this."""
    shape, order, cut = LAYOUTS[layout]
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    return values.permute(order).contiguous().permute([order.index(axis) for axis in range(len(shape))])[cut]
