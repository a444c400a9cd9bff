"""Numba kernels on rows of counts: distances, and regridding.

All are in one file for the reason given in ``tiles.py``; touch this file when ``compile.py`` changes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from torchmetrics_dna.kernels.compile import compiled, compiled_in_any_order

_MOST = 2.0**53  # counts that add up exactly
_TINY = np.finfo(np.float64).tiny


@compiled
def emd_rows(counts_a: Any, counts_b: Any, distances: Any) -> None:
    """Write the Earth Mover's Distance of each row of two sets of counts."""
    for row in range(len(distances)):
        distances[row] = _share_difference(_sums(counts_a[row]), _sums(counts_b[row]))


@compiled
def area_rows(counts_a: Any, counts_b: Any, begins: Any, ends: Any, areas: Any) -> None:
    """Write the area between the cumulative shares of each row of two sets of counts, linear within bins.

    Args:
        counts_a: Counts of A, shape ``(n, num_bins)``.
        counts_b: Counts of B, shape ``(n, num_bins)``.
        begins: Lower limits of the areas, in bins, shape ``(n,)``.
        ends: Upper limits of the areas, in bins, shape ``(n,)``.
        areas: Output, in bins, shape ``(n,)``.

    """
    num_bins = counts_a.shape[1]
    differences = np.zeros(num_bins + 1)
    for row in range(len(areas)):
        sums_a, sums_b = _sums(counts_a[row]), _sums(counts_b[row])
        for k in range(num_bins):
            differences[k + 1] = sums_a[k] / sums_a[-1] - sums_b[k] / sums_b[-1]
        areas[row] = _area(differences, begins[row], ends[row])


@compiled
def _sums(counts: Any) -> Any:
    """Return running sums, exact up to 2^53; NaN as the last one beyond."""
    sums = np.empty(len(counts))
    total = 0.0
    for k in range(len(counts)):
        total += counts[k]
        sums[k] = total
    if total > _MOST:
        sums[-1] = np.nan
    return sums


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
                target = ((starts[row] + k) >> shifts[row]) - new_starts[row]
                moved[min(max(target, 0), num_bins - 1)] += counts[row, k]
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
    """Integrate the absolute value of the piecewise linear interpolation of differences."""
    area = 0.0
    for k in range(len(differences) - 1):
        before, slope = differences[k], differences[k + 1] - differences[k]
        first, last = min(max(begin - k, 0.0), 1.0), min(max(end - k, 0.0), 1.0)
        left, right = before + slope * first, before + slope * last
        absolute_sum = abs(left) + abs(right)
        # two triangles if the line crosses 0
        height = (left * left + right * right) / max(absolute_sum, _TINY) if left * right < 0.0 else absolute_sum
        area += height * (last - first) / 2
    return area
