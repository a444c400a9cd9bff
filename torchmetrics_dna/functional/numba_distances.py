"""Distances of histograms on the CPU, row by row, compiled by numba: nothing larger than a row is ever made."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numba import njit

from torchmetrics_dna.binning.histogram import not_finite
from torchmetrics_dna.binning.numba_tiles import TILE, Work, add_tile, as_arrays, bin_tile, covers, share_out
from torchmetrics_dna.threads import in_threads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from torchmetrics_dna.binning.bins import Bins

__all__ = ["covers", "emd_of_rows", "fill_distances_"]
_ROWS = 256  # that are worth a task of their own
_WIDEST = 16  # neurons whose histograms of one image stay in a cache


def emd_of_rows(counts_a: Tensor, counts_b: Tensor) -> Tensor:
    """Sum of absolute differences of cumulative shares, float64, shape ``(N,)``; NaN where a row has no counts.

    Args:
        counts_a: Shape ``(N, num_bins)``, integers.
        counts_b: Likewise.

    """
    found = torch.empty(len(counts_a), dtype=torch.float64)
    a, b, out = counts_a.numpy(), counts_b.numpy(), found.numpy()
    in_threads(
        partial(_emd_of_rows, a[rows : rows + _ROWS], b[rows : rows + _ROWS], out[rows : rows + _ROWS])
        for rows in range(0, len(out), _ROWS)
    )
    return found


def fill_distances_(
    distances: Tensor, activations: Mapping[str, Tensor], reference: Tensor, bins: Bins, weights: Tensor
) -> None:
    """Write the Earth Mover's Distance of each image alone to a reference, for neurons whose weight is not 0.

    Args:
        distances: Shape ``(B, N)``, float64, zeros.
        activations: ``{layer: (B, n, *positions)}``.
        reference: Counts, shape ``(N, num_bins)``.
        bins: Of all neurons.
        weights: Shape ``(N,)``.

    Raises:
        ValueError: If a value is not finite.

    """
    given = as_arrays(bins), reference.numpy(), weights.numpy(), distances.numpy()
    bad = set().union(*in_threads(partial(_fill, part, given) for part in share_out(activations, _WIDEST)))
    if bad:
        raise not_finite(next(layer for layer in activations if layer in bad))


def _fill(work: Work, given: Any) -> set[str]:
    fine = _fill_neurons(work.memory, work.layout, work.begin, work.end, work.first, *given)
    return set() if fine else {work.layer}


@njit(nogil=True, error_model="numpy", cache=True)
def _fill_neurons(
    memory: Any, layout: Any, begin: Any, end: Any, first: Any, bins: Any, reference: Any, weights: Any, distances: Any
) -> Any:
    num_bins = reference.shape[1]
    numbers, staged = np.empty(TILE, np.int32), np.empty(TILE, memory.dtype)
    cells, cumulative = np.empty(layout.width * num_bins, np.int32), np.empty(num_bins)
    shares = np.empty((layout.width, num_bins))
    fine = True
    for neuron in range(begin, end, layout.width):
        width = min(layout.width, end - neuron)
        rows = slice(first + neuron, first + neuron + width)
        if not weights[rows].any():
            continue
        for j in range(width):
            _fill_shares(reference[rows.start + j], shares[j])
        for image in range(layout.images):
            cells[: width * num_bins] = 0
            for row in range(layout.rows):
                for position in range(0, layout.positions, layout.length):
                    length = min(layout.length, layout.positions - position)
                    fine &= bin_tile(
                        memory, layout, image, row, position, length, neuron, width, first, bins, staged, numbers
                    )
                    add_tile(cells, 0, numbers[: width * length], 1)
            for j in range(width):
                if weights[rows.start + j] != 0:
                    total = _accumulate(cells[j * num_bins : (j + 1) * num_bins], cumulative)
                    distances[image, rows.start + j] = _absolute_difference(cumulative, total, shares[j])
    return fine


@njit(nogil=True, error_model="numpy", cache=True)
def _emd_of_rows(counts_a: Any, counts_b: Any, found: Any) -> None:
    cumulative, shares = np.empty(counts_a.shape[1]), np.empty(counts_a.shape[1])
    for row in range(len(found)):
        _fill_shares(counts_b[row], shares)
        total = _accumulate(counts_a[row], cumulative)
        found[row] = _absolute_difference(cumulative, total, shares)


@njit(nogil=True, error_model="numpy", cache=True)
def _fill_shares(counts: Any, shares: Any) -> None:
    total = _accumulate(counts, shares)
    for k in range(len(shares)):
        shares[k] /= total


@njit(nogil=True, error_model="numpy", cache=True)
def _accumulate(counts: Any, cumulative: Any) -> Any:
    """Running sums, taken as integers; gives the last."""
    total = np.int64(0)
    for k in range(len(counts)):
        total += counts[k]
        cumulative[k] = total
    return np.float64(total)


# sums may be taken in any order, so that several are at once; the order depends on nothing but the number of bins
@njit(nogil=True, error_model="numpy", cache=True, fastmath={"reassoc", "nsz"})
def _absolute_difference(cumulative: Any, total: Any, shares: Any) -> Any:
    distance = 0.0
    for k in range(len(shares)):
        distance += abs(cumulative[k] / total - shares[k])
    return distance
