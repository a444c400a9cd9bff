"""Counts, extremes and spatial means on the CPU, each in one pass over activations of any layout, compiled by numba."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from torchmetrics_dna.binning.cpu_tiles import Work, as_arrays, covers, share_out
from torchmetrics_dna.binning.histogram import not_finite
from torchmetrics_dna.kernels.rows import regrid_rows
from torchmetrics_dna.kernels.threads import in_rows, in_threads
from torchmetrics_dna.kernels.tiles import count_from_rows, count_neurons, extremes_of_neurons, sum_neurons

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torchmetrics_dna.binning.bins import Bins
    from torchmetrics_dna.binning.layouts import Parts

__all__ = ["add_counts_", "count_rows_", "covers", "extremes", "regrid_", "spatial_means"]
_TASK = 256  # neurons, whose histograms are worth a task of their own


def add_counts_(counts: Tensor, parts: Parts, bins: Bins) -> None:
    """Add the histograms of all layers to ``counts``, shape ``(N, num_bins)``, int64, in place.

    Raises:
        ValueError: If a value is not finite. All counts are then as before.

    """
    cells = counts.numpy()
    given = as_arrays(bins)
    work = list(share_out(parts))

    def count(step: int) -> set[str]:
        return set().union(*in_threads([partial(_count, some, given, cells, step) for some in work]))

    bad = count(1)
    if bad:
        count(-1)  # which takes back each count, whatever it was
        raise not_finite(next(layer for layer in parts[0] if layer in bad))


def regrid_(counts: Tensor, starts: Tensor, shifts: Tensor, new_starts: Tensor) -> None:
    """Move counts, shape ``(N, num_bins)``, in place to bins that are ``2**shifts`` as wide; shape ``(N,)``, int64."""
    in_rows(regrid_rows, *(tensor.numpy() for tensor in (counts, starts, shifts, new_starts)))


def count_rows_(counts: Tensor, rows: Tensor, starts: Tensor, activations: Tensor) -> None:
    """Add histograms of single images, as :class:`SingleRows` keeps them, to ``counts`` in place.

    Args:
        counts: Shape ``(N, num_bins)``, int64.
        rows: Shape ``(images, L)``.
        starts: Where in a row each neuron begins, and the end, shape ``(N + 1,)``.
        activations: Number of activations of an image for each neuron, shape ``(N,)``.

    """
    given = rows.numpy(), starts.numpy(), activations.numpy()
    into = counts.numpy()
    in_threads(partial(count_from_rows, *given, *some, into) for some in neurons_in_tasks(len(into)))


def neurons_in_tasks(neurons: int) -> Iterator[tuple[int, int]]:
    """First neuron and the one after the last of each task."""
    for first in range(0, neurons, _TASK):
        yield first, min(first + _TASK, neurons)


def _count(work: Work, bins: Any, counts: Any, step: int) -> set[str]:
    """Count some neurons; gives their layer's name if a value is not finite."""
    fine = count_neurons(work.memory, work.layout, work.begin, work.end, work.first, bins, counts, step)
    return set() if fine else {work.layer}


def extremes(parts: Parts) -> Tensor:
    """Negated minimum and maximum of each neuron, float64, shape ``(2, N)``, of layers that are not empty.

    NaN where a value is not finite.
    """
    found = torch.empty(2, sum(layer.shape[1] for layer in parts[0].values()), dtype=torch.float64)
    into = found.numpy()
    in_threads(
        partial(extremes_of_neurons, some.memory, some.layout, some.begin, some.end, some.first, into)
        for some in share_out(parts)
    )
    return found


def spatial_means(pieces: Sequence[Tensor]) -> Tensor:
    """Mean over positions, float64, shape ``(n, B)``, for pieces ``(b, n, *positions)`` that are not empty."""
    sums = torch.empty(sum(map(len, pieces)), pieces[0].shape[1], dtype=torch.float64)
    into = sums.numpy()
    in_threads(
        partial(sum_neurons, some.memory, some.layout, some.begin, some.end, into)
        for some in share_out([{"activations": piece} for piece in pieces])
    )
    return sums.div_(prod(pieces[0].shape[2:])).T
