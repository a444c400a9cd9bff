"""What numba compiles to go through counts, row by row: distances, and moves to other bins.

All in one file, as those in ``tiles.py`` and for the same reason; to be touched with ``compile.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from torchmetrics_dna.kernels.compile import compiled, compiled_in_any_order

_TINY = np.finfo(np.float64).tiny


@compiled
def emd_rows(counts_a: Any, counts_b: Any, found: Any) -> None:
    """Write the Earth Mover's Distance of each row of two sets of counts."""
    for row in range(len(found)):
        found[row] = _share_difference(np.cumsum(counts_a[row]), np.cumsum(counts_b[row]))


@compiled
def area_rows(counts_a: Any, counts_b: Any, begins: Any, ends: Any, found: Any) -> None:
    """Write the area between the cumulative shares of each row of two sets of counts, linear within bins.

    Args:
        counts_a: Shape ``(n, num_bins)``.
        counts_b: Likewise.
        begins: Where areas begin, in bins, shape ``(n,)``.
        ends: Where they end.
        found: Of each row, in bins.

    """
    num_bins = counts_a.shape[1]
    differences = np.zeros(num_bins + 1)
    for row in range(len(found)):
        sums_a, sums_b = np.cumsum(counts_a[row]), np.cumsum(counts_b[row])
        for k in range(num_bins):
            differences[k + 1] = sums_a[k] / sums_a[-1] - sums_b[k] / sums_b[-1]
        found[row] = _area(differences, begins[row], ends[row])


@compiled
def regrid_rows(counts: Any, starts: Any, shifts: Any, new_starts: Any) -> None:
    """Move each row of counts from bin ``starts + k`` to bin ``(starts + k >> shifts) - new_starts``, in place."""
    num_bins = counts.shape[1]
    moved = np.empty(num_bins, np.int64)
    for row in range(len(counts)):
        if shifts[row] == 0 and starts[row] == new_starts[row]:
            continue
        moved[:] = 0
        for k in range(num_bins):
            if counts[row, k] != 0:
                there = ((starts[row] + k) >> shifts[row]) - new_starts[row]
                moved[min(max(there, 0), num_bins - 1)] += counts[row, k]
        counts[row] = moved


@compiled_in_any_order
def _share_difference(sums_a: Any, sums_b: Any) -> Any:
    total_a, total_b = sums_a[-1], sums_b[-1]
    distance = 0.0
    for k in range(len(sums_a)):
        distance += abs(sums_a[k] / total_a - sums_b[k] / total_b)
    return distance


@compiled_in_any_order
def _area(differences: Any, begin: Any, end: Any) -> Any:
    """Integral of the absolute value of what runs straight from each difference to the next."""
    area = 0.0
    for k in range(len(differences) - 1):
        before, slope = differences[k], differences[k + 1] - differences[k]
        first, last = min(max(begin - k, 0.0), 1.0), min(max(end - k, 0.0), 1.0)
        left, right = before + slope * first, before + slope * last
        both = abs(left) + abs(right)
        # of a line that crosses 0, two triangles
        height = (left * left + right * right) / max(both, _TINY) if left * right < 0.0 else both
        area += height * (last - first) / 2
    return area
