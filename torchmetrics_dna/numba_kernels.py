"""What numba compiles to go through activations, tile by tile: bin numbers, counts, distances, sums and extremes.

All in one file, since numba keeps compiled code for as long as the file of a function stays the same, and does not look
at what the function calls in other files. Where ``numba_halves.py`` changes, this file has to be touched.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from torchmetrics_dna.numba_compile import compiled, compiled_in_any_order
from torchmetrics_dna.numba_halves import to_double

_MOST_NEAR = 2**16 - 1
_LANES = 64  # activations of a neuron that are compared at once


@compiled
def count_neurons(memory: Any, layout: Any, begin: Any, end: Any, first: Any, bins: Any, counts: Any, step: Any) -> Any:
    """Add ``step`` for each activation of some neurons of a layer; whether all are finite.

    What is not finite counts too, always in the same cell, so that the opposite step takes everything back.

    Args:
        memory: Numbers, or their bits, from the lowest on that belongs to the layer.
        layout: Where the layer lies from there on.
        begin: The first of the neurons, within the layer.
        end: The one after the last.
        first: The layer's first neuron among those of ``bins`` and ``counts``.
        bins: As a tuple of arrays and numbers.
        counts: Shape ``(N, num_bins)``.
        step: 1 or -1.

    """
    cells, num_bins = counts.reshape(-1), counts.shape[1]
    numbers = np.empty(layout.width * layout.length, np.int32)
    staged = np.empty(layout.width * layout.length, memory.dtype)
    # many activations are first counted in few bytes, which stay in the first-level cache
    near = np.zeros(layout.width * num_bins, np.uint16)
    is_near = 2 * layout.images * layout.rows * layout.positions >= num_bins
    fine = True
    for neuron in range(begin, end, layout.width):
        width = min(layout.width, end - neuron)
        rule = _rule_of(bins, first + neuron, width, layout)
        begin_cells, counted = (first + neuron) * num_bins, 0
        for image in range(layout.images):
            for row in range(layout.rows):
                for position in range(0, layout.positions, layout.length):
                    length = min(layout.length, layout.positions - position)
                    here = _place(layout, image, neuron, row, position)
                    fine &= _bin_tile(memory, layout, here, width, length, rule, bins, staged, numbers)
                    if is_near:
                        if counted + length > _MOST_NEAR:
                            _move(near, cells, begin_cells, width * num_bins, step)
                            counted = 0
                        counted += length
                        _add(near, 0, numbers, width * length, layout.along_neurons, np.uint16(1))
                    else:
                        _add(cells, begin_cells, numbers, width * length, layout.along_neurons, step)
        if is_near:
            _move(near, cells, begin_cells, width * num_bins, step)
    return fine


@compiled
def fill_neurons(
    memory: Any, layout: Any, begin: Any, end: Any, first: Any, bins: Any, reference: Any, weights: Any, distances: Any,
    cells: Any,
) -> Any:  # fmt: skip
    """Write the distances between single images and a reference, for some neurons of a layer; whether all are finite.

    ``reference`` has counts, shape ``(N, num_bins)``; ``weights`` shape ``(N,)``, and neurons of weight 0 are left out;
    ``distances`` shape ``(B, N)``. ``cells`` are zeros for a tile's histograms, of an integer type that holds the count
    of an image's activations. The rest as :func:`count_neurons`.

    """
    num_bins = reference.shape[1]
    numbers = np.empty(layout.width * layout.length, np.int32)
    staged = np.empty(layout.width * layout.length, memory.dtype)
    known, sums = np.empty(num_bins, np.int64), np.empty(num_bins, np.int32)
    expected = np.empty(layout.width * num_bins)
    low, high = np.empty(layout.width, np.int32), np.empty(layout.width, np.int32)
    activations = layout.rows * layout.positions
    are_few = activations < num_bins  # else going through all bins is faster than to see how far activations reach
    for neuron in range(begin, end, layout.width):
        width = min(layout.width, end - neuron)
        if not weights[first + neuron : first + neuron + width].any():
            continue
        for j in range(width):
            # the reference's sums, as if it had as many activations as an image
            total = _running_sums(reference[first + neuron + j], known)
            expected[j * num_bins : (j + 1) * num_bins] = known * (activations / total)
        rule = _rule_of(bins, first + neuron, width, layout)
        for image in range(layout.images):
            for j in range(width):
                low[j], high[j] = (len(cells), -1) if are_few else (j * num_bins, (j + 1) * num_bins - 1)
            for row in range(layout.rows):
                for position in range(0, layout.positions, layout.length):
                    length = min(layout.length, layout.positions - position)
                    here = _place(layout, image, neuron, row, position)
                    if not _bin_tile(memory, layout, here, width, length, rule, bins, staged, numbers):
                        return False
                    _add(cells, 0, numbers, width * length, layout.along_neurons, cells.dtype.type(1))
                    if are_few:
                        _spread(numbers, width, length, layout.along_neurons, low, high)
            for j in range(width):
                row_begin = j * num_bins
                distance = _distance(cells, low[j], high[j], expected, row_begin, num_bins, activations, sums)
                if weights[first + neuron + j] != 0:
                    distances[image, first + neuron + j] = distance / activations
    return True


@compiled
def sum_neurons(memory: Any, layout: Any, begin: Any, end: Any, sums: Any) -> None:
    """Write some neurons' sums over positions to ``sums``, shape ``(B, n)``; the rest as :func:`count_neurons`."""
    staged = np.empty(layout.width * layout.length, memory.dtype)
    for neuron in range(begin, end, layout.width):
        width = min(layout.width, end - neuron)
        for image in range(layout.images):
            found = sums[image, neuron : neuron + width]
            found[:] = 0
            for row in range(layout.rows):
                for position in range(0, layout.positions, layout.length):
                    length = min(layout.length, layout.positions - position)
                    here = _place(layout, image, neuron, row, position)
                    if layout.along_neurons:
                        _stage(memory, here, layout.stride, layout.neuron_stride, length, width, staged)
                        for k in range(length):
                            for j in range(width):
                                found[j] += to_double(staged[np.uint64(k * width + j)])
                    else:
                        for j in range(width):
                            there = here + j * layout.neuron_stride
                            _stage(memory, there, 0, layout.stride, 1, length, staged)
                            found[j] += _sum(staged, length)


@compiled
def reach_neurons(memory: Any, layout: Any, begin: Any, end: Any, first: Any, extremes: Any) -> None:
    """Write the negated minimum and the maximum of some neurons to ``extremes``, shape ``(2, N)``.

    NaN for a tile's neurons if not all are finite; the rest as :func:`count_neurons`.
    """
    staged = np.empty(layout.width * layout.length, memory.dtype)
    at_once = layout.width if layout.along_neurons else 1
    low, high = np.empty(max(_LANES, at_once)), np.empty(max(_LANES, at_once))
    for neuron in range(begin, end, at_once):
        width = min(at_once, end - neuron)
        low[:], high[:] = np.inf, -np.inf
        fine = True
        for image in range(layout.images):
            for row in range(layout.rows):
                for position in range(0, layout.positions, layout.length):
                    length = min(layout.length, layout.positions - position)
                    here = _place(layout, image, neuron, row, position)
                    if layout.along_neurons:
                        _stage(memory, here, layout.stride, layout.neuron_stride, length, width, staged)
                        fine &= _reach(staged, 0, length, width, low, high)
                    else:
                        _stage(memory, here, 0, layout.stride, 1, length, staged)
                        whole = length // _LANES
                        fine &= _reach(staged, 0, whole, _LANES, low, high)
                        fine &= _reach(staged, whole * _LANES, 1, length - whole * _LANES, low, high)
        if not layout.along_neurons:
            low[0], high[0] = low.min(), high.max()
        for j in range(width):
            extremes[0, first + neuron + j] = -low[j] if fine else np.nan
            extremes[1, first + neuron + j] = high[j] if fine else np.nan


@compiled
def _place(layout: Any, image: Any, neuron: Any, row: Any, position: Any) -> Any:
    """Where in memory a tile begins."""
    return layout.origins[image] + neuron * layout.neuron_stride + row * layout.row_stride + position * layout.stride


@compiled
def _rule_of(bins: Any, neuron: Any, width: Any, layout: Any) -> Any:
    """The bins of a tile's neurons, repeated for as many activations as one loop goes through."""
    centre, scale, start, _, _, num_bins = bins
    rule = np.empty((4, width * layout.run))
    for i in range(rule.shape[1]):
        j = i % width if layout.along_neurons else i // layout.run
        rule[0, i], rule[1, i], rule[2, i] = centre[neuron + j], scale[neuron + j], start[neuron + j]
        rule[3, i] = j * num_bins
    return rule


@compiled
def _bin_tile(
    memory: Any, layout: Any, begin: Any, width: Any, length: Any, rule: Any, bins: Any, staged: Any, numbers: Any
) -> Any:
    """Write ``neuron * num_bins + bin``, neurons numbered within the tile, to ``numbers``; whether all are finite.

    What is not finite gets the number 0. Arrays are indexed, not sliced, here and in what follows: to count who holds a
    slice would take as long as to go through a short row.
    """
    offset, factor, top = bins[3], bins[4], np.float64(bins[5] - 1)
    lowest = np.int32(0)
    if layout.run > 1:
        if layout.along_neurons:
            _stage(memory, begin, layout.stride, layout.neuron_stride, length, width, staged)
        else:
            _stage(memory, begin, layout.neuron_stride, layout.stride, width, length, staged)
        for k in range(0, width * length, rule.shape[1]):
            for i in range(min(rule.shape[1], width * length - k)):
                x = to_double(staged[np.uint64(k + i)])
                number = _number(x, rule[0, i], rule[1, i], rule[2, i], rule[3, i], offset, factor, top)
                numbers[np.uint64(k + i)] = number
                lowest = min(lowest, number)
    else:
        for j in range(width):
            here = begin + j * layout.neuron_stride
            _stage(memory, here, 0, layout.stride, 1, length, staged)
            centre, scale, start, cell = rule[0, j], rule[1, j], rule[2, j], rule[3, j]
            for i in range(length):
                number = _number(to_double(staged[np.uint64(i)]), centre, scale, start, cell, offset, factor, top)
                numbers[np.uint64(j * length + i)] = number
                lowest = min(lowest, number)
    if lowest < 0:
        for i in range(width * length):
            numbers[i] = max(numbers[i], 0)
    return lowest == 0


@compiled
def _number(x: Any, centre: Any, scale: Any, start: Any, cell: Any, offset: Any, factor: Any, top: Any) -> Any:
    """``cell`` and the bin of a value after it, or -1 for what is not finite."""
    t = np.floor(((x - centre) / scale + offset) * factor) - start
    t = t if t > 0.0 else 0.0
    t = t if t < top else top
    return np.int32(t + cell) if abs(x) < np.inf else np.int32(-1)


@compiled
def _stage(memory: Any, begin: Any, row_stride: Any, stride: Any, rows: Any, length: Any, staged: Any) -> None:
    """Copy the values of some rows to ``staged``, one row after another.

    Also where they lie so already: a copy asks for many cache lines at once, the arithmetic for one after another.
    """
    if stride == 1 and row_stride == length:
        length, rows = rows * length, 1
    for k in range(rows):
        there, here = k * length, begin + k * row_stride
        if stride == 1:
            for j in range(length):
                staged[np.uint64(there + j)] = memory[np.uint64(here + j)]
        else:
            for j in range(length):
                staged[np.uint64(there + j)] = memory[np.uint64(here + j * stride)]


@compiled
def _add(cells: Any, first: Any, numbers: Any, size: Any, along_neurons: Any, step: Any) -> None:
    """Add ``step`` to the cells of a tile's numbers, those of its first neuron beginning at ``first``."""
    # four places at a time, far apart, since counting the same cell twice in a row waits for the memory
    quarter = 0 if along_neurons else size // 4
    for i in range(quarter):
        cells[np.uint64(first + numbers[np.uint64(i)])] += step
        cells[np.uint64(first + numbers[np.uint64(i + quarter)])] += step
        cells[np.uint64(first + numbers[np.uint64(i + 2 * quarter)])] += step
        cells[np.uint64(first + numbers[np.uint64(i + 3 * quarter)])] += step
    for i in range(4 * quarter, size):
        cells[np.uint64(first + numbers[np.uint64(i)])] += step


@compiled
def _reach(values: Any, origin: Any, rows: Any, width: Any, low: Any, high: Any) -> Any:
    """Lower ``low`` and raise ``high``, one for each column, as far as values reach; whether all are finite."""
    odd = np.int32(0)
    for k in range(rows):
        for j in range(width):
            x = to_double(values[np.uint64(origin + k * width + j)])
            low[j] = x if x < low[j] else low[j]
            high[j] = x if x > high[j] else high[j]
            odd = max(odd, np.int32(0) if abs(x) < np.inf else np.int32(1))
    return odd == 0


@compiled
def _move(near: Any, cells: Any, first: Any, size: Any, step: Any) -> None:
    """Add counts times ``step`` to the cells from ``first`` on, and begin anew."""
    for i in range(size):
        cells[np.uint64(first + i)] += step * np.int64(near[i])
        near[i] = 0


@compiled
def _running_sums(counts: Any, sums: Any) -> Any:
    """Write the running sums of counts, integers; gives the last."""
    total = sums.dtype.type(0)
    for k in range(len(counts)):
        total = sums.dtype.type(total + counts[k])
        sums[k] = total
    return total


@compiled_in_any_order
def _sum(values: Any, length: Any) -> Any:
    total = 0.0
    for i in range(length):
        total += to_double(values[np.uint64(i)])
    return total


@compiled
def _spread(numbers: Any, width: Any, length: Any, along_neurons: Any, low: Any, high: Any) -> None:
    """Lower ``low`` and raise ``high``, one for each neuron, as far as a tile's numbers reach."""
    if along_neurons:
        for k in range(length):
            for j in range(width):
                number = numbers[np.uint64(k * width + j)]
                low[j] = number if number < low[j] else low[j]
                high[j] = number if number > high[j] else high[j]
    else:
        for j in range(width):
            lowest, highest = low[j], high[j]
            for i in range(length):
                number = numbers[np.uint64(j * length + i)]
                lowest = number if number < lowest else lowest
                highest = number if number > highest else highest
            low[j], high[j] = lowest, highest


@compiled_in_any_order
def _distance(
    cells: Any, low: Any, high: Any, expected: Any, begin: Any, num_bins: Any, activations: Any, sums: Any
) -> Any:
    """Sum of the differences between a histogram's running sums and those expected; cells are zeros again after it.

    The histogram is that of the cells from ``begin`` on, of which those from ``low`` to ``high`` hold all activations.
    """
    distance, total = 0.0, np.int32(0)
    for k in range(begin, low):
        distance += expected[np.uint64(k)]
    for k in range(low, high + 1):
        total = np.int32(total + cells[np.uint64(k)])
        sums[np.uint64(k - low)] = total
        cells[np.uint64(k)] = 0
    for k in range(low, high + 1):
        distance += abs(sums[np.uint64(k - low)] - expected[np.uint64(k)])
    for k in range(high + 1, begin + num_bins):
        distance += abs(activations - expected[np.uint64(k)])
    return distance
