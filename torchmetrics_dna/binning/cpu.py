"""Counts, means and distances on the CPU, compiled by numba, in one pass over activations of any memory layout.

A tile is a block of neurons by positions of one image: copied along the contiguous axis, since a copy prefetches many
cache lines, then binned together, then counted. Arrays are indexed, not sliced: a slice is counted as a reference.
Threads are Python's: numba's own can't be used by two threads at once, or break in a forked worker of a loader.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache, partial
from itertools import groupby
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.lib.stride_tricks import as_strided

from torchmetrics_dna.binning.histogram import check_finite
from torchmetrics_dna.binning.layouts import placed, side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from torchmetrics_dna.binning.bins import Bins
    from torchmetrics_dna.binning.layouts import Parts

_TILE = 512  # values of a tile: with the bins of each, a fraction of the L2 cache
_WIDEST = 64  # neurons of a tile that lie side by side: whole cache lines, and counts in the L2 cache
_TASK = 1 << 16  # values of a task, at least
_CELLS = 1 << 20  # counts of a tile: 4 MiB
_GROUP = 16  # counts that are added to cells together
_ROWS = 256  # rows of counts of a task
_LANES = 64  # positions whose extremes are found side by side
_BINS = 4  # bins of a histogram that cost as much as one activation
_SPARSE = 2  # bins for an activation of a neuron, from which counts of a batch are mostly zeros
_SINGLE = 4  # bytes
_LEAST_WIDTH = 2.0**-100  # of a bin, for single precision
_MOST_SINGLE = 2.0**24  # single precision has all integers up to it
_MOST_COUNTS = 2.0**53  # of a neuron; float64 has all integers up to it


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


def _compiled(function: Any, **options: Any) -> Any:
    options = {"nogil": True, "error_model": "numpy", **options}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no folder to cache code in
        return njit(**options)(function)


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
def _set_rule(
    bins: Any, neuron: Any, width: Any, length: Any, along_neurons: Any, rule: Any, on_grid: Any, cells: Any
) -> Any:
    """Write what is known of each value of a tile; return True if single precision gives its bin exactly.

    That is on a grid: its widths are powers of two, and 24 bits hold its numbers.
    """
    centre, scale, start, offset, _, num_bins = bins
    is_exact = offset == 0.0
    for j in range(width):
        n = neuron + j
        is_exact &= _LEAST_WIDTH <= scale[n] <= 1.0 / _LEAST_WIDTH and abs(start[n]) + num_bins < _MOST_SINGLE
        for k in range(length):
            i = k * width + j if along_neurons else j * length + k
            rule[0, i], rule[1, i], rule[2, i], cells[i] = centre[n], scale[n], start[n], j * num_bins
            on_grid[0, i], on_grid[1, i] = 1.0 / scale[n], start[n]
    return is_exact


@_compiled
def _bin_on_grid(values: Any, size: Any, on_grid: Any, cells: Any, num_bins: Any, numbers: Any) -> Any:
    """Write the cell of each value, by single precision alone; like :func:`_bin`."""
    bad, zero, last, least = np.int32(0), np.float32(0), np.float32(num_bins - 1), np.float32(-_LEAST_WIDTH)
    for i in range(size):
        x = values[np.uint64(i)]
        place = x * on_grid[0, i]
        place = place if x >= zero or place < least else least  # a negative number must not become 0
        number = np.floor(place) - on_grid[1, i]
        number = number if number > zero else zero
        numbers[np.uint64(i)] = np.int32(number if number < last else last) + cells[i]
        bad = max(bad, np.int32(0) if abs(x) < np.float32(np.inf) else np.int32(1))
    return bad == 0


@_compiled
def _bin(values: Any, size: Any, rule: Any, cells: Any, bins: Any, numbers: Any) -> Any:
    """Write the cell of each value, any of its neuron for NaN, by :class:`Bins`; return True if all are finite."""
    bad, last = np.int32(0), bins[5] - 1.0
    for i in range(size):
        x = np.float64(values[np.uint64(i)])
        number = np.floor(((x - rule[0, i]) / rule[1, i] + bins[3]) * bins[4]) - rule[2, i]
        number = number if number > 0.0 else 0.0
        numbers[np.uint64(i)] = np.int32(number if number < last else last) + cells[i]
        bad = max(bad, np.int32(0) if abs(x) < np.inf else np.int32(1))
    return bad == 0


@_compiled
def _add(counts: Any, numbers: Any, size: Any) -> None:
    """Count cells, four distant values at a time: repeated updates of one cell wait for each other."""
    quarter, one = size // 4, np.uint32(1)
    for i in range(quarter):
        counts[np.uint64(numbers[np.uint64(i)])] += one
        counts[np.uint64(numbers[np.uint64(i + quarter)])] += one
        counts[np.uint64(numbers[np.uint64(i + 2 * quarter)])] += one
        counts[np.uint64(numbers[np.uint64(i + 3 * quarter)])] += one
    for i in range(4 * quarter, size):
        counts[np.uint64(numbers[np.uint64(i)])] += one


@_compiled
def _add_at(cells: Any, first: Any, numbers: Any, size: Any, step: Any) -> None:
    """Count cells where the counts of all images are."""
    for i in range(size):
        cells[np.uint64(first + numbers[np.uint64(i)])] += step


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
def _count(
    bins: Any, rows: Any, cells: Any, offsets: Any, step: Any, references: Any, weights: Any, distances: Any, task: Any
) -> Any:
    """Count neurons of each image; return True if all values are finite, else the opposite step undoes the counts.

    ``rows`` and ``offsets`` have the index of the first neuron in ``bins``, and of the first of ``cells``, for each
    image. With ``references``, ``(S, N, num_bins)``, nothing is counted, but the distance of each image to each of them
    written to ``distances``, ``(S, B, N)``, for neurons whose weight is not 0.
    """
    num_bins, positions, along_neurons, tile = bins[5], task.positions, task.along_neurons, task.width * task.length
    rule, grid, of_neuron = np.empty((3, tile)), np.empty((2, tile), np.float32), np.empty(tile, np.int32)
    # of tiles of what positions are left
    rest, grid_rest, of_rest = np.empty((3, tile)), np.empty((2, tile), np.float32), np.empty(tile, np.int32)
    staged, numbers = np.empty(tile, task.memory.dtype), np.empty(tile, np.int32)
    counts, sums = np.zeros(task.width * num_bins + _GROUP, np.uint32), np.empty(num_bins)
    expected = np.empty((len(references), task.width, num_bins))
    images, all_finite, is_single = len(task.origins), True, False
    is_sparse = len(references) == 0 and images * positions * _SPARSE < num_bins
    for neuron in range(task.begin, task.end, task.width):
        width, first = min(task.width, task.end - neuron), task.first + neuron
        if len(references) and not weights[first : first + width].any():
            continue
        for s in range(len(references)):
            for j in range(width):
                _set_shares(references[s, first + j], expected[s, j])
        for image in range(images):
            if image == 0 or rows[image] != rows[image - 1]:
                n, left = rows[image] + first, positions % task.length
                is_single = _set_rule(bins, n, width, task.length, along_neurons, rule, grid, of_neuron)
                _set_rule(bins, n, width, left, along_neurons, rest, grid_rest, of_rest)
                is_single &= task.memory.itemsize == _SINGLE
            for position in range(0, positions, task.length):
                length = min(task.length, positions - position)
                origin = task.origins[image] + neuron * task.neuron_stride + position * task.stride
                _stage(task, origin, width, length, staged)
                is_whole, size = length == task.length, width * length
                of_here = of_neuron if is_whole else of_rest
                if is_single:
                    all_finite &= _bin_on_grid(
                        staged, size, grid if is_whole else grid_rest, of_here, num_bins, numbers
                    )
                else:
                    all_finite &= _bin(staged, size, rule if is_whole else rest, of_here, bins, numbers)
                if is_sparse:
                    _add_at(cells, offsets[image] + first * num_bins, numbers, size, step)
                else:
                    _add(counts, numbers, size)
            if len(references) == 0 and not is_sparse and (image + 1 == images or offsets[image] != offsets[image + 1]):
                _move(counts, width * num_bins, step, cells, offsets[image] + first * num_bins)
            for j in range(width if len(references) else 0):
                total: Any = 0.0
                for k in range(num_bins):
                    total += counts[np.uint64(j * num_bins + k)]
                    sums[np.uint64(k)] = total
                    counts[np.uint64(j * num_bins + k)] = 0
                for s in range(len(references) if weights[first + j] else 0):
                    distances[s, image, first + j] = _distance(sums, 1.0 / positions, expected[s, j])
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


@_compiled_in_any_order
def _area(differences: Any, begin: Any, end: Any) -> Any:
    """Integrate the absolute value of the piecewise linear interpolation of differences."""
    area = 0.0
    for k in range(len(differences) - 1):
        before, slope = differences[k], differences[k + 1] - differences[k]
        first, last = min(max(begin - k, 0.0), 1.0), min(max(end - k, 0.0), 1.0)
        left, right = before + slope * first, before + slope * last
        absolute_sum = abs(left) + abs(right)
        # two triangles if the line crosses 0
        height = (left * left + right * right) / max(absolute_sum, 1e-300) if left * right < 0.0 else absolute_sum
        area += height * (last - first) / 2
    return area


@_compiled
def _distances_of_rows(counts_a: Any, counts_b: Any, begins: Any, ends: Any, distances: Any) -> None:
    """Write the distance of each row of counts: the area between limits if there are any, else Eq. (3)."""
    shares_a, shares_b = np.zeros(counts_a.shape[1] + 1), np.zeros(counts_a.shape[1] + 1)
    for row in range(len(distances)):
        _set_shares(counts_a[row], shares_a[1:])
        _set_shares(counts_b[row], shares_b[1:])
        if len(begins):
            distances[row] = _area(shares_a - shares_b, begins[row], ends[row])
        else:
            distances[row] = _distance(shares_a[1:], 1.0, shares_b[1:])


@_compiled_in_any_order
def _sum(values: Any, begin: Any, size: Any) -> Any:
    total = 0.0
    for i in range(begin, begin + size):
        total += np.float64(values[np.uint64(i)])
    return total


@_compiled
def _sum_positions(sums: Any, task: Any) -> None:
    """Write the sums over positions of each image to ``sums``, zeros of shape ``(B, n)``."""
    for image in range(len(task.origins)):
        origin, target = task.origins[image], sums[image]
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


@_compiled
def _widen(memory: Any, first: Any, rows: Any, stride: Any, size: Any, low: Any, high: Any) -> Any:
    """Extend extremes by rows of values side by side; return True if all are finite."""
    bad = np.int32(0)
    for row in range(rows):
        begin = first + row * stride
        for i in range(size):
            x = memory[np.uint64(begin + i)]
            low[np.uint64(i)] = x if x < low[np.uint64(i)] else low[np.uint64(i)]
            high[np.uint64(i)] = x if x > high[np.uint64(i)] else high[np.uint64(i)]
            bad = max(bad, np.int32(0) if abs(x) < np.inf else np.int32(1))
    return bad == 0


@_compiled
def _find_extremes(extremes: Any, task: Any) -> Any:
    """Write ``(-minimum, maximum)`` of neurons of each image, ``(B, 2, N)``; return True if all values are finite."""
    width = task.end - task.begin if task.along_neurons else _LANES
    low, high = np.empty(width, task.memory.dtype), np.empty(width, task.memory.dtype)
    all_finite, whole = True, task.positions // _LANES
    for image in range(len(task.origins)):
        for j in range(task.begin, task.begin + 1 if task.along_neurons else task.end):
            first, n = task.origins[image] + j * task.neuron_stride, task.first + j
            low[:], high[:] = np.inf, -np.inf
            if task.along_neurons:
                all_finite &= _widen(task.memory, first, task.positions, task.stride, width, low, high)
                for i in range(width):
                    extremes[image, 0, n + i], extremes[image, 1, n + i] = -np.float64(low[i]), high[i]
            else:
                all_finite &= _widen(task.memory, first, whole, _LANES, _LANES, low, high)
                rest = task.positions - whole * _LANES
                all_finite &= _widen(task.memory, first + whole * _LANES, 1, 0, rest, low, high)
                extremes[image, 0, n], extremes[image, 1, n] = -np.float64(low.min()), high.max()
    return all_finite


def image_extremes(parts: Parts) -> Tensor:
    """Compute :func:`torchmetrics_dna.binning.extremes.image_extremes`."""
    images, neurons = sum(len(next(iter(part.values()))) for part in parts), sum(x.shape[1] for x in parts[0].values())
    extremes = torch.empty(images, 2, neurons, dtype=torch.float64)
    if not _all(lambda _, rows, task: _find_extremes(extremes.numpy()[rows], task), list(_work(parts))):
        check_finite(parts)
    return extremes.flatten(1)


def add_counts_by_key_(counts: Tensor, parts: Parts, bins: Bins, rows: Tensor, keys: Tensor) -> None:
    """Add the histograms of each image to the counts of its key, ``(keys, N, num_bins)``, each key's contiguous.

    ``rows`` and ``keys``, ``(B,)``, have the row of bins and the key of each image. All are int64. ValueError if a
    value is not finite; counts are then unchanged.
    """
    cells = counts.as_strided(((len(counts) - 1) * counts.stride(0) + counts[0].numel(),), (1,)).numpy()
    arrays, starts, offsets = _arrays(bins), (rows * counts.shape[1]).numpy(), (keys * counts.stride(0)).numpy()
    no_references = np.empty((0, 0, 0), np.int64), np.empty(0), np.empty((0, 0, 0))
    work = list(_work(parts, bins.num_bins))

    def count(step: int) -> bool:
        return _all(lambda _, r, task: _count(arrays, starts[r], cells, offsets[r], step, *no_references, task), work)

    if not count(1):
        count(-1)
        check_finite(parts)


def fill_distances_(distances: Tensor, parts: Parts, references: Tensor, bins: Bins, weights: Tensor) -> None:
    """Write the dna-emd of each image to references into zeros, ``(S, B, N)``, for neurons whose weight is not 0."""
    zeros = np.zeros(distances.shape[1], np.int64)
    arguments = _arrays(bins), zeros, zeros, zeros, 1, references.numpy(), weights.numpy()
    work = list(_work(parts, bins.num_bins, bins.num_bins // _BINS))
    if not _all(lambda _, rows, task: _count(*arguments, distances.numpy()[:, rows], task), work):
        check_finite(parts)


def spatial_means(pieces: Sequence[Tensor]) -> Tensor:
    """Average over positions, float64, shape ``(n, B)``, for non-empty pieces ``(b, n, *positions)``."""
    sums = torch.zeros(sum(map(len, pieces)), pieces[0].shape[1], dtype=torch.float64)
    work = list(_work([{"activations": piece} for piece in pieces]))
    _all(lambda _, rows, task: _sum_positions(sums.numpy()[rows], task), work)
    positions = torch.cat([torch.full((len(piece), 1), prod(piece.shape[2:])) for piece in pieces])
    return sums.div_(positions).T


def emd_of_rows(*arguments: Tensor) -> Tensor:
    """Compute :func:`torchmetrics_dna.functional.emd.emd_of_rows`, or with limits ``area_of_rows`` beside it."""
    counts_a, counts_b, *limits = (tensor.numpy() for tensor in arguments)
    begins, ends = limits or (np.empty(0), np.empty(0))
    distances = np.empty(len(counts_a))
    work = [(slice(first, first + _ROWS),) for first in range(0, len(counts_a), _ROWS)]
    _all(lambda r: _distances_of_rows(counts_a[r], counts_b[r], begins[r], ends[r], distances[r]), work)
    return torch.from_numpy(distances)


def _arrays(bins: Bins) -> tuple[Any, ...]:
    arrays = (tensor.contiguous().numpy() for tensor in (bins.centre, bins.scale, bins.first))
    return (*arrays, float(bins.offset), float(bins.factor), bins.num_bins)


def _work(parts: Parts, num_bins: int = 1, beside: int = 0) -> Iterator[tuple[list[Tensor], slice, Task]]:
    """Yield tasks of about one cost, activations plus ``beside``, each after what keeps its memory, and its images.

    A task has consecutive images that lie in memory alike: parts may differ in positions, dtype, layout and alignment.
    """
    threads = torch.get_num_threads()
    total = sum(layer.numel() + beside * prod(layer.shape[:2]) for _, layer in placed(parts))
    for name, (columns, _) in zip(parts[0], placed(parts[:1]), strict=True):
        last = 0
        for _, alike in groupby((side_by_side(part[name].detach()) for part in parts), _place):
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
            size = int(origins.max()) + (neurons - 1) * neuron_stride + (positions - 1) * stride + 1
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
                yield pieces, slice(first, last), Task(*layout, begin, end, columns.start)


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
