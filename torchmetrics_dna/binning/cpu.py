"""Counts, means and distances on the CPU, compiled by numba, in one pass over activations of any memory layout.

A tile is a block of neurons by positions of one image: copied along the contiguous axis, since a copy prefetches many
cache lines, then binned together, then counted. Arrays are indexed, not sliced: a slice is counted as a reference.
Threads are Python's: numba's own can't be used by two threads at once, or break in a forked worker of a loader.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache, partial
from itertools import groupby
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from torch import Tensor

from torchmetrics_dna.binning.activations import Activations, side_by_side
from torchmetrics_dna.compiled import Postponed
from torchmetrics_dna.compiled import compiled as _compiled

if TYPE_CHECKING:
    from torchmetrics_dna.binning.bins import Bins
    from torchmetrics_dna.binning.counting import FoldCounts

_TILE = 512  # values of a tile: with the bins of each, a fraction of the L2 cache
_WIDEST = 64  # neurons of a tile that lie side by side: whole cache lines, and counts in the L2 cache
_TASK = 1 << 16  # values of a task, at least
_CELLS = 1 << 20  # counts of a tile: 4 MiB
_GROUP = 16  # counts that are added to cells together
_ROWS = 256  # rows of counts of a task
_BINS = 4  # bins of a histogram that cost as much as one activation
_SPARSE = 2  # bins for each activation of a neuron, from which on they are counted at once where the batch goes
_SINGLE = 4  # bytes
_LEAST_WIDTH = 2.0**-100  # of a bin, for single precision
_MOST_SINGLE = 2.0**24  # single precision has all integers up to it
_MOST_COUNTS = 2.0**53  # of a neuron; float64 has all integers up to it
# Torch takes 7 ns more per activation, so compiling takes as long as this many: 2,500 images and the default network.
_WORTH_COMPILING = 1 << 30
_NO_BINS = (np.empty(0), np.empty(0), np.empty(0), 0.0, 0.0, 0)


class Task(NamedTuple):
    """Neurons of a layer in memory."""

    memory: Any  # from the lowest address of the layer on
    origins: Any  # offset of each image, int64
    neuron_stride: int
    stride: int  # of positions
    positions: int
    along_neurons: bool  # neurons lie side by side
    width: int  # neurons of a tile
    length: int  # positions of a tile
    begin: int  # first neuron
    end: int  # last neuron plus one
    first: int  # number of the layer's first neuron among all


# sums in any order, for SIMD; always inlined, since a function that is compiled alone has another order
_compiled_in_any_order = partial(_compiled, fastmath={"reassoc", "nsz"}, forceinline=True)


@_compiled
def _stage(task: Any, begin: Any, width: Any, length: Any, staged: Any) -> None:
    """Copy ``width`` neurons by ``length`` positions from ``begin`` on."""
    rows, row_stride, size = (length, task.stride, width) if task.along_neurons else (width, task.neuron_stride, length)
    for k in range(rows):
        target, source = k * size, begin + k * row_stride
        for j in range(size):
            staged[np.uint64(target + j)] = task.memory[np.uint64(source + j)]


@_compiled
def _set_rule(bins: Any, wide: Any, neuron: Any, width: Any, length: Any, along_neurons: Any, rule: Any) -> Any:
    """Write what is known of each value of a tile; return True if single precision gives its bin exactly.

    That is on a grid: its widths are powers of two, and 24 bits hold its numbers.
    """
    centre, scale, start, offset, factor, num_bins = bins
    _, wide_scale, wide_start, _, wide_factor, num_wide = wide
    double, single, cells = rule
    is_exact = offset == 0.0
    for j in range(width):
        n = neuron + j
        is_exact &= _LEAST_WIDTH <= scale[n] <= 1.0 / _LEAST_WIDTH and abs(start[n]) + num_bins < _MOST_SINGLE
        ratio, first = (wide_factor * (scale[n] / wide_scale[n]), wide_start[n]) if num_wide else (0.0, 0.0)
        for k in range(length):
            i = k * width + j if along_neurons else j * length + k
            double[0, i], double[1, i], double[2, i], double[3, i] = factor, start[n], ratio, first
            double[4, i], double[5, i] = centre[n], scale[n]
            single[0, i], single[1, i], single[2, i], single[3, i] = factor, start[n], ratio, first
            single[4, i] = 1.0 / scale[n]
            cells[0, i], cells[1, i] = j * num_bins, j * num_wide
    return is_exact


@_compiled
def _scale_on_grid(values: Any, size: Any, rule: Any, scaled: Any) -> Any:
    """Scale each value by single precision alone; like :func:`_scale`."""
    bad, zero, least = np.int32(0), np.float32(0), np.float32(-_LEAST_WIDTH)
    for i in range(size):
        x = values[np.uint64(i)]
        z = x * rule[4, i]
        scaled[np.uint64(i)] = z if x >= zero or z < least else least  # a negative number must not become 0
        bad = max(bad, np.int32(0) if abs(x) < np.float32(np.inf) else np.int32(1))
    return bad == 0


@_compiled
def _scale(values: Any, size: Any, rule: Any, offset: Any, scaled: Any) -> Any:
    """Scale each value by the first half of the formula of :class:`Bins`; return True if all are finite."""
    bad = np.int32(0)
    for i in range(size):
        x = np.float64(values[np.uint64(i)])
        scaled[np.uint64(i)] = (x - rule[4, i]) / rule[5, i] + offset
        bad = max(bad, np.int32(0) if abs(x) < np.inf else np.int32(1))
    return bad == 0


@_compiled
def _number(scaled: Any, size: Any, rule: Any, row: Any, cells: Any, num_bins: Any, numbers: Any) -> None:
    """Write the cell of each value by the second half of that formula, any of its neuron for NaN."""
    zero, last = scaled.dtype.type(0), scaled.dtype.type(num_bins - 1)
    for i in range(size):
        number = np.floor(scaled[np.uint64(i)] * rule[row, i]) - rule[row + 1, i]
        number = number if number > zero else zero
        numbers[np.uint64(i)] = np.int32(number if number < last else last) + cells[i]


@_compiled
def _bin(
    task: Any, image: Any, neuron: Any, position: Any, width: Any, bins: Any, wide: Any, rules: Any, tile: Any
) -> Any:
    """Write the cell of each value of a tile, and its cell of wide bins; return their number, True if all are finite.

    ``rules`` are the one of whole tiles, that of tiles of what positions are left, and if single precision will do.
    """
    whole, rest, is_single = rules
    staged, scaled, scaled_on_grid, numbers, wide_numbers = tile
    length = min(task.length, task.positions - position)
    size = width * length
    _stage(task, task.origins[image] + neuron * task.neuron_stride + position * task.stride, width, length, staged)
    double, single, cells = whole if length == task.length else rest
    if is_single:
        is_finite = _scale_on_grid(staged, size, single, scaled_on_grid)
        _number(scaled_on_grid, size, single, 0, cells[0], bins[5], numbers)
        if wide[5]:
            _number(scaled_on_grid, size, single, 2, cells[1], wide[5], wide_numbers)
    else:
        is_finite = _scale(staged, size, double, bins[3], scaled)
        _number(scaled, size, double, 0, cells[0], bins[5], numbers)
        if wide[5]:
            _number(scaled, size, double, 2, cells[1], wide[5], wide_numbers)
    return size, is_finite


@_compiled
def _memory_of(task: Any) -> Any:
    """Return memory for the two rules of a tile, and for its values and their cells."""
    size = task.width * task.length
    whole = np.empty((6, size)), np.empty((5, size), np.float32), np.empty((2, size), np.int32)
    rest = np.empty((6, size)), np.empty((5, size), np.float32), np.empty((2, size), np.int32)
    values = np.empty(size, task.memory.dtype), np.empty(size), np.empty(size, np.float32)
    return whole, rest, (*values, np.empty(size, np.int32), np.empty(size, np.int32))


@_compiled
def _set_rules(bins: Any, wide: Any, neuron: Any, width: Any, task: Any, whole: Any, rest: Any) -> Any:
    """Write the rules of the tiles of some neurons, and return those that :func:`_bin` takes."""
    is_single = _set_rule(bins, wide, neuron, width, task.length, task.along_neurons, whole)
    _set_rule(bins, wide, neuron, width, task.positions % task.length, task.along_neurons, rest)
    return whole, rest, is_single and task.memory.itemsize == _SINGLE


@_compiled
def _add(counts: Any, first: Any, numbers: Any, size: Any, step: Any) -> None:
    """Count cells from ``first`` on, four distant values at a time: updates of one cell wait for each other."""
    quarter = size // 4
    for i in range(quarter):
        counts[np.uint64(first + numbers[np.uint64(i)])] += step
        counts[np.uint64(first + numbers[np.uint64(i + quarter)])] += step
        counts[np.uint64(first + numbers[np.uint64(i + 2 * quarter)])] += step
        counts[np.uint64(first + numbers[np.uint64(i + 3 * quarter)])] += step
    for i in range(4 * quarter, size):
        counts[np.uint64(first + numbers[np.uint64(i)])] += step


@_compiled
def _move(counts: Any, size: Any, step: Any, cells: Any, first: Any) -> None:
    """Add counts to cells, and leave zeros; most counts of few images are zeros, which are passed over in groups."""
    for begin in range(0, size, _GROUP):
        filled = np.uint32(0)
        for i in range(begin, begin + _GROUP):
            filled |= counts[np.uint64(i)]
        if filled:
            for i in range(begin, min(begin + _GROUP, size)):
                cells[np.uint64(first + i)] += step * np.int64(counts[np.uint64(i)])
                counts[np.uint64(i)] = 0


@_compiled
def _count(bins: Any, cells: Any, wide: Any, wide_cells: Any, offsets: Any, step: Any, task: Any) -> Any:
    """Count neurons of all images in ``cells``, and of each in wide bins, if there are any, in those of its fold.

    Return True if all values are finite; else the opposite step undoes the counts. ``offsets`` have the first of
    ``wide_cells`` for each image.
    """
    num_bins, num_wide, images, all_finite, one = bins[5], wide[5], len(task.origins), True, np.uint32(1)
    whole, rest, tile = _memory_of(task)
    counts = np.zeros(task.width * num_bins + _GROUP, np.uint32)
    wide_counts = np.zeros(task.width * num_wide + _GROUP, np.uint32)
    # with few values for a bin, most counts of a tile would be zeros
    is_sparse, is_sparse_wide = images * task.positions * _SPARSE < num_bins, task.positions * _SPARSE < num_wide
    for neuron in range(task.begin, task.end, task.width):
        width, first = min(task.width, task.end - neuron), task.first + neuron
        rules = _set_rules(bins, wide, first, width, task, whole, rest)
        for image in range(images):
            for position in range(0, task.positions, task.length):
                size, is_finite = _bin(task, image, neuron, position, width, bins, wide, rules, tile)
                all_finite &= is_finite
                if is_sparse:
                    _add(cells, first * num_bins, tile[3], size, step)
                else:
                    _add(counts, 0, tile[3], size, one)
                if num_wide and is_sparse_wide:
                    _add(wide_cells, offsets[image] + first * num_wide, tile[4], size, step)
                elif num_wide:
                    _add(wide_counts, 0, tile[4], size, one)
            if num_wide and not is_sparse_wide and (image + 1 == images or offsets[image] != offsets[image + 1]):
                _move(wide_counts, width * num_wide, step, wide_cells, offsets[image] + first * num_wide)
        if not is_sparse:
            _move(counts, width * num_bins, step, cells, first * num_bins)
    return all_finite


@_compiled
def _score(bins: Any, wide: Any, references: Any, weights: Any, distances: Any, task: Any) -> Any:
    """Write the distance of each image to references, ``(S, N, num_bins)``; return True if all values are finite.

    Distances have shape ``(S, B, N)``; those of neurons whose weight is 0 are left out. There are no ``wide`` bins.
    """
    num_bins, all_finite = bins[5], True
    whole, rest, tile = _memory_of(task)
    counts, sums = np.zeros(task.width * num_bins, np.uint32), np.empty(num_bins)
    expected = np.empty((len(references), task.width, num_bins))
    for neuron in range(task.begin, task.end, task.width):
        width, first = min(task.width, task.end - neuron), task.first + neuron
        if not weights[first : first + width].any():
            continue
        rules = _set_rules(bins, wide, first, width, task, whole, rest)
        for s in range(len(references)):
            for j in range(width):
                _set_shares(references[s, first + j], expected[s, j])
        for image in range(len(task.origins)):
            for position in range(0, task.positions, task.length):
                size, is_finite = _bin(task, image, neuron, position, width, bins, wide, rules, tile)
                all_finite &= is_finite
                _add(counts, 0, tile[3], size, np.uint32(1))
            for j in range(width):
                total = 0.0
                for k in range(num_bins):
                    total += counts[np.uint64(j * num_bins + k)]
                    sums[np.uint64(k)] = total
                    counts[np.uint64(j * num_bins + k)] = 0
                for s in range(len(references) if weights[first + j] else 0):
                    distances[s, image, first + j] = _distance(sums, 1.0 / task.positions, expected[s, j])
    return all_finite


@_compiled
def _set_shares(counts: Any, shares: Any) -> None:
    """Write cumulative shares, by exact sums and a division; NaN without counts, or with more than 2^53."""
    total = 0.0
    for k in range(len(counts)):
        total += counts[k]
        shares[k] = total
    total = total if total <= _MOST_COUNTS else np.nan
    shares /= total


@_compiled_in_any_order
def _distance(sums: Any, scale: Any, shares: Any) -> Any:
    """Compute Eq. (3) of the paper for running sums of counts that a factor makes shares."""
    distance = 0.0
    for k in range(len(shares)):
        distance += abs(sums[k] * scale - shares[k])
    return distance


@_compiled
def _area_of_line(begin: Any, end: Any, before: Any, after: Any, low: Any, high: Any) -> Any:
    """Integrate the absolute value of a straight line within bounds."""
    first, last = min(max(begin, low), high), min(max(end, low), high)
    if last <= first:
        return 0.0
    slope = (after - before) / (end - begin)
    left, right = before + slope * (first - begin), before + slope * (last - begin)
    absolute_sum = abs(left) + abs(right)
    # a line that crosses 0 bounds two triangles
    height = (left * left + right * right) / absolute_sum if left * right < 0.0 else absolute_sum
    return height * (last - first) / 2


@_compiled
def _set_knots(place: Any, knots: Any) -> None:
    """Write the edges of a neuron's bins, moved into its range."""
    start, width, minimum, maximum = place
    for k in range(len(knots)):
        knots[k] = min(max((start + k) * width, minimum), maximum)


@_compiled
def _fine_knot(knot: Any, is_maximum: Any, fine: Any, coarse: Any, num_bins: Any) -> Any:
    """Return the number of bins of the finer histogram below a knot of the coarser one."""
    if coarse[2] > fine[3]:
        return num_bins
    if coarse[3] < fine[2]:
        return 0
    below = np.floor(knot / fine[1]) - fine[0]
    if is_maximum:
        below += 1.0
    return int(min(max(below, 0.0), np.float64(num_bins)))


@_compiled
def _area(shares: Any, knots: Any, place: Any, coarse_shares: Any, coarse_knots: Any, coarse: Any, bounds: Any) -> Any:
    """Integrate the absolute difference of two cumulative shares; :mod:`functional.self_ranging` has the rule.

    A ``place`` has the first bin's number and width of a neuron, and its smallest and largest activation.
    """
    low, high = bounds
    num_bins = len(shares) - 1
    number_of_maximum = np.floor(coarse[3] / coarse[1]) - coarse[0]
    begin, before, knot = min(low, coarse[2], place[2]), 0.0, 0
    area = 0.0
    for gap in range(num_bins + 2):
        if gap <= num_bins:
            end = coarse_knots[gap]
            last_knot = _fine_knot(end, gap > number_of_maximum, place, coarse, num_bins)
            after = shares[last_knot] - coarse_shares[gap]
        else:
            end, last_knot, after = max(high, coarse[3], place[3]), num_bins, 0.0
        rise = shares[last_knot] - shares[knot]
        if rise > 0.0:
            slope = (after - before) / rise
            left, at_left = min(max(knots[knot], begin), end), before
            area += _area_of_line(begin, left, before, before, low, high)
            for k in range(knot + 1, last_knot + 1):
                right, at_right = min(max(knots[k], begin), end), before + (shares[k] - shares[knot]) * slope
                area += _area_of_line(left, right, at_left, at_right, low, high)
                left, at_left = right, at_right
            area += _area_of_line(left, end, after, after, low, high)
        else:
            area += _area_of_line(begin, end, before, after, low, high)
        begin, before, knot = end, after, last_knot
    # 0, or NaN without counts
    return area + (shares[num_bins] - coarse_shares[num_bins])


@_compiled
def _areas_of_rows(counts_a: Any, counts_b: Any, places_a: Any, places_b: Any, bounds: Any, areas: Any) -> None:
    """Write the area between the cumulative shares of each row of counts, within bounds."""
    size = counts_a.shape[1] + 1
    shares_a, shares_b, knots_a, knots_b = np.zeros(size), np.zeros(size), np.empty(size), np.empty(size)
    for row in range(len(areas)):
        place_a, place_b = places_a[row], places_b[row]
        _set_shares(counts_a[row], shares_a[1:])
        _set_shares(counts_b[row], shares_b[1:])
        _set_knots(place_a, knots_a)
        _set_knots(place_b, knots_b)
        if place_a[1] <= place_b[1]:
            areas[row] = _area(shares_a, knots_a, place_a, shares_b, knots_b, place_b, bounds[row])
        else:
            areas[row] = _area(shares_b, knots_b, place_b, shares_a, knots_a, place_a, bounds[row])


@_compiled
def _distances_of_rows(counts_a: Any, counts_b: Any, distances: Any) -> None:
    """Write the distance of each row of counts, Eq. (3)."""
    shares_a, shares_b = np.empty(counts_a.shape[1]), np.empty(counts_a.shape[1])
    for row in range(len(distances)):
        _set_shares(counts_a[row], shares_a)
        _set_shares(counts_b[row], shares_b)
        distances[row] = _distance(shares_a, 1.0, shares_b)


@_compiled
def _distances_of_sums(sums: Any, scales: Any, totals: Any, distances: Any) -> None:
    for row in range(sums.shape[0]):
        for neuron in range(sums.shape[1]):
            distances[row, neuron] = _distance(sums[row, neuron], scales[row, neuron], totals[neuron])


@_compiled_in_any_order
def _sum(values: Any, begin: Any, size: Any) -> Any:
    total = 0.0
    for i in range(begin, begin + size):
        total += np.float64(values[np.uint64(i)])
    return total


@_compiled
def _average(means: Any, task: Any) -> None:
    """Write the means over positions of each image to zeros, ``(B, N)``.

    It is worth 14 % of an update of Fréchet distances with ResNet-50, and 2 % with the default network.
    """
    for image in range(len(task.origins)):
        origin, target = task.origins[image], means[image, task.first :]
        for j in range(task.end if task.along_neurons else task.begin, task.end):
            target[j] = _sum(task.memory, origin + j * task.neuron_stride, task.positions)
        # sums of four positions at a time are written once
        whole = task.positions // 4 * 4 if task.along_neurons else 0
        for position in range(0, whole, 4):
            a = origin + position * task.stride
            b, c, d = a + task.stride, a + 2 * task.stride, a + 3 * task.stride
            for j in range(task.begin, task.end):
                first = np.float64(task.memory[np.uint64(a + j)]) + np.float64(task.memory[np.uint64(b + j)])
                second = np.float64(task.memory[np.uint64(c + j)]) + np.float64(task.memory[np.uint64(d + j)])
                target[np.uint64(j)] += first + second
        for position in range(whole, task.positions if task.along_neurons else 0):
            for j in range(task.begin, task.end):
                target[np.uint64(j)] += np.float64(task.memory[np.uint64(origin + position * task.stride + j)])
        for j in range(task.begin, task.end):
            target[np.uint64(j)] /= task.positions


_COUNTING = Postponed(_count, _WORTH_COMPILING)


def counts_faster(activations: Activations) -> bool:
    """Return whether to call :func:`add_counts_`, which compiles for seconds if numba's cache has no machine code."""
    return _COUNTING.is_due(sum(layer.numel() for _, layer in activations.placed()))


def add_counts_(counts: Tensor, activations: Activations, bins: Bins, folds: FoldCounts | None = None) -> None:
    """Implement :func:`torchmetrics_dna.binning.counting.add_counts_`."""
    arrays = _arrays(bins), counts.view(-1).numpy()
    wide, cells, offsets = _NO_BINS, np.empty(0, np.int64), np.zeros(len(activations), np.int64)
    if folds is not None:
        size = (len(folds.counts) - 1) * folds.counts.stride(0) + folds.counts[0].numel()
        wide, cells = _arrays(folds.bins), folds.counts.as_strided((size,), (1,)).numpy()
        offsets = (folds.keys * folds.counts.stride(0)).numpy()
    work = list(_work(activations, bins.num_bins))

    def count(step: int) -> bool:
        return _all(lambda _, images, task: _count(*arrays, wide, cells, offsets[images], step, task), work)

    if not count(1):
        count(-1)
        activations.check()


def fill_distances_(
    distances: Tensor, activations: Activations, references: Tensor, bins: Bins, weights: Tensor
) -> None:
    """Write the dna-emd of each image to references into zeros, ``(S, B, N)``, for neurons whose weight is not 0."""
    arguments = _arrays(bins), _NO_BINS, references.numpy(), weights.numpy()
    work = list(_work(activations, bins.num_bins, bins.num_bins // _BINS))
    if not _all(lambda _, images, task: _score(*arguments, distances.numpy()[:, images], task), work):
        activations.check()


def spatial_means(activations: Activations) -> Tensor:
    """Average all layers over positions, float64, ``(B, N)``."""
    widths = [values.shape[1] for values in activations.parts[0].values()]
    means = torch.zeros(len(activations), sum(widths), dtype=torch.float64)
    _all(lambda _, images, task: _average(means.numpy()[images], task), list(_work(activations)))
    return means


def emd_of_rows(counts_a: Tensor, counts_b: Tensor) -> Tensor:
    """Compute :func:`torchmetrics_dna.functional.emd.emd_of_rows`."""
    rows_a, rows_b = counts_a.numpy(), counts_b.numpy()
    distances = np.empty(len(rows_a))
    work = [(slice(first, first + _ROWS),) for first in range(0, len(rows_a), _ROWS)]
    _all(lambda r: _distances_of_rows(rows_a[r], rows_b[r], distances[r]), work)
    return torch.from_numpy(distances)


def areas_of_rows(*arguments: Tensor) -> Tensor:
    """Compute :func:`torchmetrics_dna.functional.self_ranging.area_of_rows`.

    Arguments are the counts of A and B, the places of the neurons of A and B, ``(N, 4)``, and bounds, ``(N, 2)``.
    """
    arrays = [tensor.numpy() for tensor in arguments]
    areas = np.empty(len(arrays[0]))
    work = [(slice(first, first + _ROWS),) for first in range(0, len(areas), _ROWS)]
    _all(lambda r: _areas_of_rows(*(array[r] for array in arrays), areas[r]), work)
    return torch.from_numpy(areas)


def distances_of_sums(sums: Tensor, scales: Tensor, totals: Tensor) -> Tensor:
    """Sum the absolute values of ``sums * scales - totals`` over the bins, float64, ``(P, N)``.

    It is worth 14 % of a comparison of 12 images a side, and 10 % of 40.
    """
    distances = torch.empty_like(scales)
    arrays = [tensor.numpy() for tensor in (sums, scales)]
    work = [(slice(first, first + _ROWS),) for first in range(0, len(sums), _ROWS)]
    _all(lambda r: _distances_of_sums(*(array[r] for array in arrays), totals.numpy(), distances.numpy()[r]), work)
    return distances


def _arrays(bins: Bins) -> tuple[Any, ...]:
    arrays = (tensor.contiguous().numpy() for tensor in (bins.centre, bins.scale, bins.first))
    return (*arrays, float(bins.offset), float(bins.factor), bins.num_bins)


def _work(activations: Activations, num_bins: int = 1, beside: int = 0) -> Iterator[tuple[list[Tensor], slice, Task]]:
    """Yield tasks of about one cost, activations plus ``beside``, each after what keeps its memory, and its images.

    A task has consecutive images that lie in memory alike: parts may differ in positions, dtype, layout and alignment.
    """
    threads = torch.get_num_threads()
    total = sum(layer.numel() + beside * prod(layer.shape[:2]) for _, layer in activations.placed())
    first_neuron = 0
    for name, values in activations.parts[0].items():
        last = 0
        for _, alike in groupby((side_by_side(part[name].detach()) for part in activations.parts), _place):
            pieces = list(alike)
            first, last = last, last + sum(map(len, pieces))
            pieces = [piece for piece in pieces if piece.numel()]
            if not pieces:
                continue
            lowest = min(pieces, key=torch.Tensor.data_ptr)
            starts = [(piece.data_ptr() - lowest.data_ptr()) // piece.itemsize for piece in pieces]
            images = [at + np.arange(len(x)) * x.stride(0) for at, x in zip(starts, pieces, strict=True)]
            origins = np.concatenate(images)
            (neurons, positions), (neuron_stride, stride) = lowest.shape[1:], lowest.stride()[1:]
            size = int(np.max(origins)) + (neurons - 1) * neuron_stride + (positions - 1) * stride + 1
            memory = as_strided(lowest.as_strided((1,), (1,)).numpy(), (size,))
            along_neurons = neuron_stride == 1 and (stride != 1 or positions == 1)
            # a large layer of few neurons is split among threads, too
            width = min(max(_TILE // positions, _WIDEST if along_neurons else 4), -(-neurons // threads))
            width = max(1, min(width, _CELLS // num_bins))
            length = min(positions, _TILE // width)
            layout = memory, origins, neuron_stride, stride, positions, along_neurons, width, length
            at_least = max(_TASK, total // (8 * threads)) // (len(origins) * (positions + beside))
            step = -(-max(1, at_least) // width) * width
            for begin in range(0, neurons, step):
                end = min(begin + step, neurons)
                yield pieces, slice(first, last), Task(*layout, begin, end, first_neuron)
        first_neuron += values.shape[1]


def _place(piece: Tensor) -> Any:
    return piece.shape[1:], piece.stride()[1:], piece.dtype, piece.data_ptr() % piece.itemsize


def _all(call: Callable[..., Any], work: Sequence[tuple[Any, ...]]) -> bool:
    """Call a function with each item, in as many threads as torch has; return False if one call returns it."""
    threads = torch.get_num_threads()
    if min(threads, len(work)) == 1:
        return False not in [call(*item) for item in work]
    futures = [_pool(threads, os.getpid()).submit(call, *item) for item in work]
    try:
        return False not in [future.result() for future in futures]
    finally:  # an interrupt must not leave threads that go on to write
        for future in futures:
            future.cancel()
        wait(futures)


@lru_cache(maxsize=1)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:  # noqa: ARG001 - a forked process needs a pool of its own
    return ThreadPoolExecutor(threads, thread_name_prefix="torchmetrics_dna")
