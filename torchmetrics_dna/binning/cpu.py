"""Counts, extremes and spatial means on the CPU, compiled by numba, in one pass over activations of any layout."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from torchmetrics_dna.binning.cpu_tiles import Layout, Work, as_arrays, covers, share_out
from torchmetrics_dna.binning.histogram import not_finite
from torchmetrics_dna.binning.layouts import placed
from torchmetrics_dna.kernels.rows import regrid_rows
from torchmetrics_dna.kernels.threads import in_rows, in_threads
from torchmetrics_dna.kernels.tiles import count_from_rows, count_neurons, extremes_of_neurons, sum_neurons

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torchmetrics_dna.binning.bins import Bins
    from torchmetrics_dna.binning.layouts import Parts

__all__ = ["add_counts_", "add_counts_by_key_", "count_rows_", "covers", "extremes", "regrid_", "spatial_means"]
_TASK = 256  # neurons per task


def add_counts_(counts: Tensor, parts: Parts, bins: Bins) -> None:
    """Add the histograms of all layers to ``counts``, shape ``(N, num_bins)``, int64, in place.

    Raises:
        ValueError: If a value is not finite; counts are then unchanged.

    """
    keys = torch.zeros(sum(max(map(len, part.values()), default=0) for part in parts), dtype=torch.int64)
    add_counts_by_key_(counts[None], parts, bins, keys, keys)


def add_counts_by_key_(counts: Tensor, parts: Parts, bins: Bins, rows: Tensor, keys: Tensor) -> None:
    """Implement :func:`torchmetrics_dna.binning.counting.add_counts_by_key_`."""
    cells = counts.as_strided(((len(counts) - 1) * counts.stride(0) + counts[0].numel(),), (1,)).numpy()
    arguments = as_arrays(bins), (rows * counts.shape[1]).numpy(), cells, (keys * counts.stride(0)).numpy()
    work = list(share_out(parts))

    def count(step: int) -> set[str]:
        return set().union(*in_threads([partial(_count, task, *arguments, step) for task in work]))

    bad_layers = count(1)
    if bad_layers:
        count(-1)  # undoes every count
        raise not_finite(next(layer for layer in parts[0] if layer in bad_layers))


def regrid_(counts: Tensor, starts: Tensor, shifts: Tensor, new_starts: Tensor) -> None:
    """Regrid counts, shape ``(N, num_bins)``, in place to bins ``2**shifts`` times as wide; ``(N,)``, int64."""
    in_rows(regrid_rows, *(tensor.numpy() for tensor in (counts, starts, shifts, new_starts)))


def count_rows_(counts: Tensor, rows: Tensor, starts: Tensor, activations: Tensor) -> None:
    """Add rows of images, ``(images, L)``, in the layout of :class:`SingleRows`, to ``counts`` in place."""
    source = rows.numpy(), starts.numpy(), activations.numpy()
    target = counts.numpy()
    in_threads(partial(count_from_rows, *source, *task, target) for task in neurons_in_tasks(len(target)))


def neurons_in_tasks(neurons: int) -> Iterator[tuple[int, int]]:
    """Yield the first neuron of each task and the one after its last."""
    for first in range(0, neurons, _TASK):
        yield first, min(first + _TASK, neurons)


def _count(work: Work, *arguments: Any) -> set[str]:
    """Count the neurons of a task; return the name of their layer if a value is not finite."""
    return set() if count_neurons(*_slice_of(work), work.first, *arguments) else {work.layer}


def _slice_of(work: Work) -> tuple[Any, Layout, int, int]:
    return work.memory, work.layout, work.begin, work.end


def extremes(parts: Parts) -> Tensor:
    """Compute the negated minimum and the maximum of each neuron in each image, ``(2, B, N)``, for non-empty layers.

    The dtype is float32, or float64 if that of an activation is. They are NaN where a value is not finite.
    """
    layers = [layer for _, layer in placed(parts)]
    shape = sum(len(next(iter(part.values()))) for part in parts), sum(layer.shape[1] for layer in parts[0].values())
    dtype = torch.float64 if any(layer.dtype == torch.float64 for layer in layers) else torch.float32
    values = torch.empty(2, *shape, dtype=dtype)
    target = values.numpy()
    in_threads(
        partial(extremes_of_neurons, *_slice_of(work), work.first, work.first_image, target)
        for work in share_out(parts, by_image=True)
    )
    return values


def spatial_means(pieces: Sequence[Tensor]) -> Tensor:
    """Average over positions, float64, shape ``(n, B)``, for non-empty pieces ``(b, n, *positions)``."""
    sums = torch.empty(sum(map(len, pieces)), pieces[0].shape[1], dtype=torch.float64)
    target = sums.numpy()
    in_threads(
        partial(sum_neurons, *_slice_of(work), work.first_image, target)
        for work in share_out([{"activations": piece} for piece in pieces], by_image=True)
    )
    return sums.div_(prod(pieces[0].shape[2:])).T
