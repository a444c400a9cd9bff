"""Distances of histograms on the CPU, compiled by numba, which never hold more than one row of shares."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from torchmetrics_dna.binning.cpu_tiles import Work, as_arrays, covers, share_out
from torchmetrics_dna.binning.histogram import not_finite
from torchmetrics_dna.kernels.rows import area_rows, emd_rows
from torchmetrics_dna.kernels.threads import in_rows, in_threads
from torchmetrics_dna.kernels.tiles import fill_neurons

if TYPE_CHECKING:
    from torch import Tensor

    from torchmetrics_dna.binning.bins import Bins
    from torchmetrics_dna.binning.layouts import Parts

__all__ = ["area_of_rows", "covers", "emd_of_rows", "fill_distances_"]
_BINS = 4  # of a histogram that take as long as to count an activation


def emd_of_rows(counts_a: Tensor, counts_b: Tensor) -> Tensor:
    """As :func:`torchmetrics_dna.functional.emd.emd_of_rows`."""
    return _row_by_row(emd_rows, counts_a, counts_b)


def area_of_rows(counts_a: Tensor, counts_b: Tensor, begin: Tensor, end: Tensor) -> Tensor:
    """As :func:`torchmetrics_dna.functional.emd.area_of_rows`."""
    return _row_by_row(area_rows, counts_a, counts_b, begin, end)


def fill_distances_(distances: Tensor, parts: Parts, reference: Tensor, bins: Bins, weights: Tensor) -> None:
    """As :func:`torchmetrics_dna.functional.realism.fill_distances_`, with one row of bins for each neuron."""
    given = as_arrays(bins), reference.numpy(), weights.numpy(), distances.numpy()
    bad = set().union(
        *in_threads(partial(_fill, some, given) for some in share_out(parts, beside=bins.num_bins // _BINS))
    )
    if bad:
        raise not_finite(next(layer for layer in parts[0] if layer in bad))


def _row_by_row(kernel: Any, *given: Tensor) -> Tensor:
    """What a kernel finds for each row of some tensors, float64."""
    found = torch.empty(len(given[0]), dtype=torch.float64)
    in_rows(kernel, *(tensor.numpy() for tensor in (*given, found)))
    return found


def _fill(work: Work, given: Any) -> set[str]:
    bins, layout = given[0], work.layout
    integer = np.uint16 if layout.rows * layout.positions < 1 << 16 else np.int32
    cells = np.zeros(layout.width * bins[-1], integer)
    fine = fill_neurons(work.memory, layout, work.begin, work.end, work.first, *given, cells)
    return set() if fine else {work.layer}
