"""Counting activations on the CPU in one pass over them, compiled by numba; the same counts as the reference's."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.binning.histogram import not_finite
from torchmetrics_dna.binning.numba_tiles import Work, as_arrays, covers, share_out
from torchmetrics_dna.numba_kernels import count_neurons
from torchmetrics_dna.numba_rows import regrid_rows
from torchmetrics_dna.threads import in_threads

if TYPE_CHECKING:
    from torch import Tensor

    from torchmetrics_dna.binning.bins import Bins
    from torchmetrics_dna.binning.layouts import Parts


__all__ = ["add_counts_", "covers", "regrid_"]
_ROWS = 256  # that are worth a task of their own


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
    given = [tensor.numpy() for tensor in (counts, starts, shifts, new_starts)]
    in_threads(
        partial(regrid_rows, *(array[rows : rows + _ROWS] for array in given)) for rows in range(0, len(counts), _ROWS)
    )


def _count(work: Work, bins: Any, counts: Any, step: int) -> set[str]:
    """Count some neurons; gives their layer's name if a value is not finite."""
    fine = count_neurons(work.memory, work.layout, work.begin, work.end, work.first, bins, counts, step)
    return set() if fine else {work.layer}
