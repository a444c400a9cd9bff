"""Distances of histograms on the CPU, compiled by numba, which never hold more than one row of shares."""

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
_BINS = 4  # of a histogram that take as long as to count an activation


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
    kept: tuple[SingleRows, Tensor] | None = None,
) -> None:
    """Compute :func:`torchmetrics_dna.functional.realism.fill_distances_`, with one row of bins for each neuron."""
    given = as_arrays(bins), references.numpy(), weights.numpy(), distances.numpy()
    rows = _as_kept(kept, parts, len(weights))
    bad = set().union(
        *in_threads(partial(_fill, some, given, rows) for some in share_out(parts, beside=bins.num_bins // _BINS))
    )
    if bad:
        raise not_finite(next(layer for layer in parts[0] if layer in bad))


def fill_from_rows_(distances: Tensor, rows: Tensor, layout: SingleRows, references: Tensor) -> None:
    """Write the distances of histograms that were kept, shape ``(S, B, N)``."""
    given = rows.numpy(), layout.starts.numpy(), layout.activations.numpy()
    into = references.numpy(), distances.numpy()
    in_threads(partial(fill_from_rows, *given, begin, end, *into) for begin, end in neurons_in_tasks(len(given[2])))


def _row_by_row(kernel: Any, *given: Tensor) -> Tensor:
    """Apply a kernel to each row of some tensors; gives float64."""
    found = torch.empty(len(given[0]), dtype=torch.float64)
    in_rows(kernel, *(tensor.numpy() for tensor in (*given, found)))
    return found


def _as_kept(kept: tuple[SingleRows, Tensor] | None, parts: Parts, neurons: int) -> Any:
    """The rows to fill and where in them neurons begin; no room for any neuron where none are kept."""
    if kept is None:
        return np.zeros((sum(len(next(iter(part.values()))) for part in parts), 0), np.int16), np.zeros(
            neurons + 1, int
        )
    layout, rows = kept
    return rows.numpy(), layout.starts.numpy()


def _fill(work: Work, given: Any, kept: Any) -> set[str]:
    bins, layout = given[0], work.layout
    integer = np.uint16 if layout.rows * layout.positions < 1 << 16 else np.int32
    cells = np.zeros(layout.width * bins[-1], integer)
    fine = fill_neurons(work.memory, layout, work.begin, work.end, work.first, *given, *kept, cells)
    return set() if fine else {work.layer}
