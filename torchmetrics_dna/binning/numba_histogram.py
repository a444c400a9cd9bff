"""Counting activations on the CPU in one pass over them, compiled by numba; the same counts as the reference's."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from torchmetrics_dna.binning.histogram import not_finite
from torchmetrics_dna.binning.numba_tiles import TILE, Work, add_tile, as_arrays, bin_tile, covers, share_out
from torchmetrics_dna.threads import in_threads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from torchmetrics_dna.binning.bins import Bins


__all__ = ["add_counts_", "covers"]


def add_counts_(counts: Tensor, activations: Mapping[str, Tensor], bins: Bins) -> None:
    """Add the histograms of all layers to ``counts``, shape ``(N, num_bins)``, int64, in place.

    Raises:
        ValueError: If a value is not finite. All counts are then as before.

    """
    cells = counts.numpy()
    given = as_arrays(bins)
    work = list(share_out(activations))

    def count(step: int) -> set[str]:
        return set().union(*in_threads([partial(_count, part, given, cells, step) for part in work]))

    bad = count(1)
    if bad:
        count(-1)  # which takes back each count, whatever it was
        raise not_finite(next(layer for layer in activations if layer in bad))


def _count(work: Work, bins: Any, counts: Any, step: int) -> set[str]:
    """Count some neurons; gives their layer's name if a value is not finite."""
    fine = _count_neurons(work.memory, work.layout, work.begin, work.end, work.first, bins, counts, step)
    return set() if fine else {work.layer}


@njit(nogil=True, error_model="numpy", cache=True)
def _count_neurons(
    memory: Any, layout: Any, begin: Any, end: Any, first: Any, bins: Any, counts: Any, step: Any
) -> Any:
    cells = counts.reshape(-1)
    num_bins = counts.shape[1]
    numbers, staged = np.empty(TILE, np.int32), np.empty(TILE, memory.dtype)
    fine = True
    for neuron in range(begin, end, layout.width):
        width = min(layout.width, end - neuron)
        for image in range(layout.images):
            for row in range(layout.rows):
                for position in range(0, layout.positions, layout.length):
                    length = min(layout.length, layout.positions - position)
                    fine &= bin_tile(
                        memory, layout, image, row, position, length, neuron, width, first, bins, staged, numbers
                    )
                    add_tile(cells, (first + neuron) * num_bins, numbers[: width * length], step)
    return fine
