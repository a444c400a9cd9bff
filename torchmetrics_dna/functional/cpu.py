"""Distances of histograms on the CPU, compiled by numba, with one row of shares in memory."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from torchmetrics_dna.binning.cpu import neurons_in_tasks
from torchmetrics_dna.binning.cpu_tiles import Work, as_arrays, covers, share_out
from torchmetrics_dna.binning.histogram import not_finite
from torchmetrics_dna.kernels.rows import area_rows, emd_rows
from torchmetrics_dna.kernels.threads import in_rows, in_threads
from torchmetrics_dna.kernels.tiles import fill_from_rows, fill_neurons

if TYPE_CHECKING:
    from torch import Tensor

    from torchmetrics_dna.binning.bins import Bins
    from torchmetrics_dna.binning.layouts import Parts
    from torchmetrics_dna.binning.single_rows import SingleRows

__all__ = ["area_of_rows", "covers", "emd_of_rows", "fill_distances_", "fill_from_rows_"]
_BINS = 4  # bins of a histogram that cost as much as one activation


def emd_of_rows(counts_a: Tensor, counts_b: Tensor) -> Tensor:
    """Compute :func:`torchmetrics_dna.functional.emd.emd_of_rows`."""
    return _row_by_row(emd_rows, counts_a, counts_b)


def area_of_rows(counts_a: Tensor, counts_b: Tensor, begin: Tensor, end: Tensor) -> Tensor:
    """Compute :func:`torchmetrics_dna.functional.emd.area_of_rows`."""
    return _row_by_row(area_rows, counts_a, counts_b, begin, end)


def fill_distances_(
    distances: Tensor,
    parts: Parts,
    references: Tensor,
    bins: Bins,
    weights: Tensor,
    storage: tuple[SingleRows, Tensor] | None = None,
) -> None:
    """Compute :func:`torchmetrics_dna.functional.realism.fill_distances_`, with one row of bins for each neuron."""
    arguments = as_arrays(bins), references.numpy(), weights.numpy(), distances.numpy()
    rows = _storage_arrays(storage, parts, len(weights))
    bad_layers = set().union(
        *in_threads(partial(_fill, work, arguments, rows) for work in share_out(parts, beside=bins.num_bins // _BINS))
    )
    if bad_layers:
        raise not_finite(next(layer for layer in parts[0] if layer in bad_layers))


def fill_from_rows_(distances: Tensor, rows: Tensor, layout: SingleRows, references: Tensor) -> None:
    """Write the distances of stored histograms, shape ``(S, B, N)``."""
    source = rows.numpy(), layout.starts.numpy(), layout.activations.numpy()
    target = references.numpy(), distances.numpy()
    in_threads(partial(fill_from_rows, *source, begin, end, *target) for begin, end in neurons_in_tasks(len(source[2])))


def _row_by_row(kernel: Any, *tensors: Tensor) -> Tensor:
    """Apply a kernel to each row of tensors; return float64."""
    distances = torch.empty(len(tensors[0]), dtype=torch.float64)
    in_rows(kernel, *(tensor.numpy() for tensor in (*tensors, distances)))
    return distances


def _storage_arrays(storage: tuple[SingleRows, Tensor] | None, parts: Parts, neurons: int) -> Any:
    """Return the rows to fill and the starts of neurons in them; rows of size 0 if none are stored."""
    if storage is None:
        images = sum(len(next(iter(part.values()))) for part in parts)
        return np.zeros((images, 0), np.int16), np.zeros(neurons + 1, int)
    layout, rows = storage
    return rows.numpy(), layout.starts.numpy()


def _fill(work: Work, arguments: Any, storage: Any) -> set[str]:
    bins, layout = arguments[0], work.layout
    integer = np.uint16 if layout.rows * layout.positions < 1 << 16 else np.int32
    cells = np.zeros(layout.width * bins[-1], integer)
    is_finite = fill_neurons(work.memory, layout, work.begin, work.end, work.first, *arguments, *storage, cells)
    return set() if is_finite else {work.layer}
