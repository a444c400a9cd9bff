"""Numba kernels on tiles of activations: bin numbers, counts, distances, sums and extremes.

All are in one file: numba caches compiled code by the file of a function, and ignores changes of functions that it
calls in other files. Touch this file when ``compile.py`` changes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from torchmetrics_dna.kernels.compile import compiled, compiled_in_any_order, compiled_with_fused_terms


def to_float(raw: Any) -> Any:
    """Convert a value, or its bits, to float32; float64 stays; numba uses the overload below."""
    raise NotImplementedError


@overload(to_float)
def _to_float(raw: Any) -> Any:
    if raw == types.int16:
        return _half_to_float
    if raw == types.uint16:
        return _bfloat16_to_float
    return _unchanged


def _unchanged(raw: Any) -> Any:
    return raw


def _half_to_float(raw: Any) -> Any:
    bits = np.uint32(np.uint32(raw) & np.uint32(0x7FFF))
    # same mantissa in float32, whose exponent bias is larger by 112
    size = np.uint32(bits << np.uint32(13)).view(np.float32) * np.float32(2.0**112)
    if bits >= np.uint32(0x7C00):
        size = np.float32(np.inf)
    return -size if raw < 0 else size


def _bfloat16_to_float(raw: Any) -> Any:
    return np.uint32(np.uint32(raw) << np.uint32(16)).view(np.float32)


@compiled
def place(layout: Any, image: Any, neuron: Any, row: Any, position: Any) -> Any:
    """Return the offset of a tile in memory."""
    return layout.origins[image] + neuron * layout.neuron_stride + row * layout.row_stride + position * layout.stride


@compiled
def stage(memory: Any, layout: Any, begin: Any, width: Any, length: Any, staged: Any) -> None:
    """Copy ``width`` neurons by ``length`` positions to ``staged``, along the contiguous axis.

    Contiguous tiles are copied, too: a copy prefetches many cache lines, slow arithmetic loads one after another.
    """
    rows, row_stride, size, stride = width, layout.neuron_stride, length, layout.stride
    if layout.along_neurons:
        rows, row_stride, size, stride = length, layout.stride, width, layout.neuron_stride
    if stride == 1 and row_stride == size:
        size, rows = rows * size, 1
    for k in range(rows):
        target, source = k * size, begin + k * row_stride
        if stride == 1:
            for j in range(size):
                staged[np.uint64(target + j)] = memory[np.uint64(source + j)]
        else:
            for j in range(size):
                staged[np.uint64(target + j)] = memory[np.uint64(source + j * stride)]


@compiled
def are_finite(values: Any, begin: Any, size: Any) -> Any:
    """True if ``size`` values from ``begin`` on are finite."""
    is_bad = np.int32(0)
    for i in range(size):
        is_bad = max(is_bad, np.int32(0) if abs(to_float(values[np.uint64(begin + i)])) < np.inf else np.int32(1))
    return is_bad == 0


_BLOCK = 256  # activations of a neuron binned at once
_ROUNDING = 1.01 * 2.0**-24  # of float32, with a reserve for repeated rounding
_MOST_ERROR = 2.0**-9  # in bins, up to which the fast path pays
_MOST_SLOPE = 2.0**100  # beyond it, products overflow float32
_NEVER = -1.0
_NEAR = 6  # bins for each activation of a neuron, up to which that pays
_LANES = 64  # activations of a neuron compared at once


@compiled
def count_neurons(
    memory: Any, layout: Any, begin: Any, end: Any, first: Any, bins: Any, rows: Any, cells: Any, offsets: Any,
    step: Any,
) -> Any:  # fmt: skip
    """Add ``step`` for each activation of neurons of a layer; return True if all are finite.

    Values that are not finite are counted in a fixed cell, so that the opposite step undoes all counts.

    Args:
        memory: Values, or their bits, from the lowest address of the layer.
        layout: Layout of the layer in ``memory``.
        begin: First neuron, within the layer.
        end: Last neuron plus one, within the layer.
        first: First neuron of the layer among all.
        bins: Tuple of arrays, with one or several rows of all neurons, and numbers.
        rows: Index of the first neuron in ``bins`` for each image, shape ``(B,)``.
        cells: Counts, ``num_bins`` for each neuron.
        offsets: Index of the first count in ``cells`` for each image, shape ``(B,)``.
        step: 1 or -1.

    """
    num_bins = bins[5]
    numbers = np.empty(layout.width * layout.length, np.int32)
    staged = np.empty(layout.width * layout.length, memory.dtype)
    # many activations are counted in 32 bits first, so that the counts are read and written once, in order
    near = np.zeros(layout.width * num_bins, np.uint32)
    activations = layout.images * layout.rows * layout.positions
    is_near = num_bins <= _NEAR * activations < _NEAR * 2**32 and (offsets == offsets[0]).all()
    all_finite = True
    for neuron in range(begin, end, layout.width):
        width = min(layout.width, end - neuron)
        rule = _rule_of(bins, rows[0] + first + neuron, width, layout)
        begin_cells = (first + neuron) * num_bins
        for image in range(layout.images):
            target = offsets[image] + begin_cells
            if rows[image] != rows[max(0, image - 1)]:
                rule = _rule_of(bins, rows[image] + first + neuron, width, layout)
            for row in range(layout.rows):
                for position in range(0, layout.positions, layout.length):
                    length = min(layout.length, layout.positions - position)
                    origin = place(layout, image, neuron, row, position)
                    all_finite &= _bin_tile(memory, layout, origin, width, length, rule, bins, staged, numbers)
                    if is_near:
                        _add(near, 0, numbers, width * length, layout.along_neurons, np.uint32(1))
                    else:
                        _add(cells, target, numbers, width * length, layout.along_neurons, step)
        if is_near:
            _move(near, cells, offsets[0] + begin_cells, width * num_bins, step)
    return all_finite


@compiled
def fill_neurons(
    memory: Any, layout: Any, begin: Any, end: Any, first: Any, bins: Any, references: Any, weights: Any,
    distances: Any, stored: Any, starts: Any, cells: Any,
) -> Any:  # fmt: skip
    """Write distances between single images and references, for neurons of a layer; return True if all are finite.

    ``references`` are counts, ``(S, N, num_bins)``; ``weights`` have shape ``(N,)``, and neurons of weight 0 are
    skipped; ``distances`` have shape ``(S, B, N)``. ``stored``, ``(B, L)``, receives the histograms of images in the
    layout of :class:`SingleRows`, with ``starts``, ``(N + 1,)``, of neurons. ``cells`` are zeros for a tile's
    histograms, of an integer dtype that holds the number of activations of an image. Other arguments are those of
    :func:`count_neurons`.
    """
    num_bins, activations = references.shape[2], layout.rows * layout.positions
    numbers = np.empty(layout.width * layout.length, np.int32)
    staged = np.empty(layout.width * layout.length, memory.dtype)
    cumulative, sums = np.empty(num_bins, np.int64), np.empty(num_bins, np.int32)
    expected = np.empty(len(references) * layout.width * num_bins)
    low, high = np.empty(layout.width, np.int32), np.empty(layout.width, np.int32)
    are_few = activations < num_bins  # otherwise, reading all bins is faster than tracking the range
    is_single_tile = are_few and layout.rows == 1 and layout.length >= layout.positions
    for neuron in range(begin, end, layout.width):
        width = min(layout.width, end - neuron)
        if not weights[first + neuron : first + neuron + width].any():
            continue
        _expect_tile(references, first + neuron, width, layout.width, activations, cumulative, expected)
        rule = _rule_of(bins, first + neuron, width, layout)
        for image in range(layout.images):
            for j in range(width):
                low[j], high[j] = (len(cells), -1) if are_few else (j * num_bins, (j + 1) * num_bins - 1)
            for row in range(layout.rows):
                for position in range(0, layout.positions, layout.length):
                    length = min(layout.length, layout.positions - position)
                    origin = place(layout, image, neuron, row, position)
                    if not _bin_tile(memory, layout, origin, width, length, rule, bins, staged, numbers):
                        return False
                    _add(cells, 0, numbers, width * length, layout.along_neurons, cells.dtype.type(1))
                    if are_few:
                        _widen_bins(numbers, width, length, layout.along_neurons, low, high)
            for j in range(width):
                n, row_begin = first + neuron + j, j * num_bins
                _sum_cells(cells, low[j], high[j], sums)
                if weights[n] == 0:
                    continue
                lowest, highest = low[j] - row_begin, high[j] - row_begin
                for s in range(len(references)):
                    offset = (s * layout.width + j) * num_bins
                    distance = _distance(sums, lowest, highest, expected, offset, num_bins, activations)
                    distances[s, image, n] = distance / activations
                if starts[n] < starts[n + 1] and is_single_tile:
                    _sort(stored[image], starts[n], sums, low[j], row_begin, numbers, layout, j, width)
                elif starts[n] < starts[n + 1]:
                    _keep(stored[image], starts[n], sums, lowest, highest, are_few)
    return True


@compiled
def fill_from_rows(
    stored: Any, starts: Any, activations: Any, begin: Any, end: Any, references: Any, distances: Any
) -> None:
    """Write distances like :func:`fill_neurons`, from stored histograms with ``activations`` per neuron."""
    num_bins = references.shape[2]
    cumulative, sums = np.empty(num_bins, np.int64), np.empty(num_bins, np.int32)
    expected, areas = np.empty(num_bins), np.empty(num_bins + 1)
    crossings = np.empty(num_bins + 1, np.int64)
    for n in range(begin, end):
        size, count = starts[n + 1] - starts[n], activations[n]
        if size == 0:
            continue
        for s in range(len(references)):
            _expect(references[s, n], count, cumulative, expected, 0)
            if count < num_bins:
                _prepare_few(expected, count, areas, crossings)
            for image in range(len(stored)):
                if count < num_bins:
                    distance = _distance_of_few(stored[image], starts[n], size, areas, crossings)
                else:
                    _sum_kept(stored[image], starts[n], size, sums)
                    distance = _distance(sums, 0, num_bins - 1, expected, 0, num_bins, count)
                distances[s, image, n] = distance / count


@compiled
def count_from_rows(stored: Any, starts: Any, activations: Any, begin: Any, end: Any, counts: Any) -> None:
    """Add stored histograms of neurons to ``counts``, shape ``(N, num_bins)``."""
    cells, num_bins = counts.reshape(-1), counts.shape[1]
    for image in range(len(stored)):
        row = stored[image]
        for n in range(begin, end):
            source, size, first = starts[n], starts[n + 1] - starts[n], n * num_bins
            if activations[n] < num_bins:
                for i in range(size):
                    cells[np.uint64(first + row[np.uint64(source + i)])] += 1
            else:
                for i in range(size):
                    cells[np.uint64(first + i)] += row[np.uint64(source + i)]


@compiled
def sum_neurons(memory: Any, layout: Any, begin: Any, end: Any, first_image: Any, sums: Any) -> None:
    """Write sums over positions to ``sums``, shape ``(B, n)``; other arguments are those of :func:`count_neurons`."""
    staged = np.empty(layout.length, memory.dtype)
    are_contiguous = layout.along_neurons and layout.neuron_stride == 1
    for image in range(layout.images):
        target = sums[first_image + image]
        target[begin:end] = 0
        for row in range(layout.rows):
            if are_contiguous:
                for position in range(layout.positions):
                    origin = place(layout, image, 0, row, position)
                    for j in range(begin, end):
                        target[np.uint64(j)] += np.float64(to_float(memory[np.uint64(origin + j)]))
                continue
            for position in range(0, layout.positions, layout.length):
                length = min(layout.length, layout.positions - position)
                for j in range(begin, end):
                    stage(memory, layout, place(layout, image, j, row, position), 1, length, staged)
                    target[j] += _sum(staged, length)


@compiled
def extremes_of_neurons(
    memory: Any, layout: Any, begin: Any, end: Any, first: Any, first_image: Any, extremes: Any
) -> None:
    """Write the negated minimum and the maximum of neurons to ``extremes``, shape ``(2, B, N)``, for each image.

    They are NaN where a value is not finite. Other arguments are those of :func:`count_neurons`.
    """
    are_contiguous = layout.along_neurons and layout.neuron_stride == 1
    at_once = end - begin if are_contiguous else 1
    columns = max(_LANES, at_once)
    low, high = np.empty(columns, extremes.dtype), np.empty(columns, extremes.dtype)
    differences = np.empty(columns, extremes.dtype)
    staged = np.empty(layout.positions, memory.dtype)
    for image in range(layout.images):
        for neuron in range(begin, end, at_once):
            low[:], high[:], differences[:] = np.inf, -np.inf, 0
            for row in range(layout.rows):
                origin = place(layout, image, neuron, row, 0)
                if are_contiguous:
                    _widen(memory, origin, layout.positions, layout.stride, at_once, low, high, differences)
                elif layout.stride == 1:
                    _widen_by_lanes(memory, origin, layout.positions, low, high, differences)
                else:
                    stage(memory, layout, origin, 1, layout.positions, staged)
                    _widen_by_lanes(staged, 0, layout.positions, low, high, differences)
            if not are_contiguous:
                low[0], high[0], differences[0] = low.min(), high.max(), differences.sum()
            for j in range(at_once):
                is_finite = differences[j] == 0
                extremes[0, first_image + image, first + neuron + j] = -low[j] if is_finite else np.nan
                extremes[1, first_image + image, first + neuron + j] = high[j] if is_finite else np.nan


@compiled
def _rule_of(bins: Any, neuron: Any, width: Any, layout: Any) -> Any:
    """Return the bins of a tile's neurons, repeated for the activations of one loop: exact, rough, and cells.

    A rough number is ``(x - centre) * slope + shift`` in float32. Its rounding error is less than ``error``, so the bin
    is certain for numbers at least that far from its edges.
    """
    centre, scale, start, offset, factor, num_bins = bins
    exact = np.empty((5, width * layout.run))
    rough, cells = np.empty((4, width * layout.run), np.float32), np.empty(width * layout.run, np.int32)
    for j in range(width):
        middle, slope, shift = centre[neuron + j], factor / scale[neuron + j], offset * factor - start[neuron + j]
        reach = max(abs(shift), abs(num_bins - shift)) + 1
        error = _ROUNDING * (4 * reach + 2 * abs(middle) * slope + abs(shift) + num_bins + 1)
        is_rough = error < _MOST_ERROR and 1 / _MOST_SLOPE < slope < _MOST_SLOPE
        for k in range(layout.run):
            i = k * width + j if layout.along_neurons else j * layout.run + k
            exact[0, i], exact[1, i], exact[2, i] = middle, scale[neuron + j], start[neuron + j]
            exact[3, i], exact[4, i] = j * num_bins, (j + 1) * num_bins - 1
            rough[0, i], rough[1, i], rough[2, i] = middle, slope, shift
            rough[3, i] = 0.5 - error if is_rough else _NEVER
            cells[i] = j * num_bins
    if layout.run > 1 and rough[3].min() == _NEVER:
        rough[3, 0] = _NEVER  # for all neurons of the loop
    return exact, rough, cells


@compiled
def _bin_tile(
    memory: Any, layout: Any, begin: Any, width: Any, length: Any, rule: Any, bins: Any, staged: Any, numbers: Any
) -> Any:
    """Write ``neuron * num_bins + bin``, with neurons of the tile, to ``numbers``; return True if all are finite.

    Arrays are indexed, not sliced, here and below: reference counting of a slice costs as much as a short row.
    """
    exact, rough, cells = rule
    many = layout.run > 1
    rows, size, block = (1, width * length, len(cells)) if many else (width, length, _BLOCK)
    all_finite = True
    for j in range(rows):
        origin, values = begin + j * layout.neuron_stride, memory
        if many or layout.stride != 1:
            stage(memory, layout, origin, width // rows, length, staged)
            origin, values = 0, staged
        for k in range(origin, origin + size, block):
            count, target = min(block, origin + size - k), j * size + k - origin
            if rough[3, j] == _NEVER or not _bin_roughly(
                values, k, count, rough, cells, j, many, bins, numbers, target
            ):
                all_finite &= are_finite(values, k, count)
                _bin_exactly(values, k, count, exact, j, many, bins, numbers, target)
    return all_finite


@compiled
def _bin_exactly(
    values: Any, begin: Any, size: Any, exact: Any, first: Any, many: Any, bins: Any, numbers: Any, target: Any
) -> None:
    """Write the cells of ``size`` values from ``begin`` on; an arbitrary cell of the neuron for NaN."""
    offset, factor = bins[3], bins[4]
    for i in range(size):
        j = np.uint64(first + i) if many else np.uint64(first)
        x = np.float64(to_float(values[np.uint64(begin + i)]))
        cell = np.floor(((x - exact[0, j]) / exact[1, j] + offset) * factor) - exact[2, j] + exact[3, j]
        cell = cell if cell > exact[3, j] else exact[3, j]
        numbers[np.uint64(target + i)] = np.int32(cell if cell < exact[4, j] else exact[4, j])


@compiled_with_fused_terms
def _bin_roughly(
    values: Any, begin: Any, size: Any, rough: Any, cells: Any, first: Any, many: Any, bins: Any, numbers: Any,
    target: Any,
) -> Any:  # fmt: skip
    """Write cells like :func:`_bin_exactly`, twice as fast; return True if all are finite and certain."""
    half, most, unsure = np.float32(0.5), np.float32(bins[5] - 0.5), np.int32(0)
    for i in range(size):
        j = np.uint64(first + i) if many else np.uint64(first)
        x = np.float32(to_float(values[np.uint64(begin + i)]))
        t = (x - rough[0, j]) * rough[1, j] + rough[2, j]
        t = t if t > half else half
        t = t if t < most else most
        number = np.int32(t)
        sure = abs(t - np.float32(number) - half) < rough[3, j] and abs(x) < np.float32(np.inf)
        unsure = max(unsure, np.int32(0) if sure else np.int32(1))
        numbers[np.uint64(target + i)] = np.int32(number + cells[j])
    return unsure == 0


@compiled
def _add(cells: Any, first: Any, numbers: Any, size: Any, along_neurons: Any, step: Any) -> None:
    """Add ``step`` to the cells of a tile's numbers, offset by ``first``."""
    # four distant positions at a time, since repeated updates of a cell stall on store-to-load forwarding
    quarter = 0 if along_neurons else size // 4
    for i in range(quarter):
        cells[np.uint64(first + numbers[np.uint64(i)])] += step
        cells[np.uint64(first + numbers[np.uint64(i + quarter)])] += step
        cells[np.uint64(first + numbers[np.uint64(i + 2 * quarter)])] += step
        cells[np.uint64(first + numbers[np.uint64(i + 3 * quarter)])] += step
    for i in range(4 * quarter, size):
        cells[np.uint64(first + numbers[np.uint64(i)])] += step


@compiled
def _widen_by_lanes(values: Any, origin: Any, size: Any, low: Any, high: Any, differences: Any) -> None:
    """Update ``low`` and ``high`` like :func:`_widen`, by ``size`` values in rows of lanes."""
    rows = size // _LANES
    _widen(values, origin, rows, _LANES, _LANES, low, high, differences)
    _widen(values, origin + rows * _LANES, 1, _LANES, size - rows * _LANES, low, high, differences)


@compiled
def _widen(values: Any, origin: Any, rows: Any, step: Any, width: Any, low: Any, high: Any, differences: Any) -> None:
    """Update ``low`` and ``high`` of each column by rows of values, and add values minus themselves: 0 if finite."""
    for k in range(0, rows, 4):  # at a time, to read and write the columns less often; the last row may repeat
        first, second = origin + k * step, origin + min(k + 1, rows - 1) * step
        third, fourth = origin + min(k + 2, rows - 1) * step, origin + min(k + 3, rows - 1) * step
        for j in range(width):
            a, b = to_float(values[np.uint64(first + j)]), to_float(values[np.uint64(second + j)])
            c, d = to_float(values[np.uint64(third + j)]), to_float(values[np.uint64(fourth + j)])
            lowest, highest = _least(_least(a, b), _least(c, d)), _most(_most(a, b), _most(c, d))
            low[j], high[j] = _least(lowest, low[j]), _most(highest, high[j])
            differences[j] += ((a - a) + (b - b)) + ((c - c) + (d - d))


@compiled
def _least(a: Any, b: Any) -> Any:
    return a if a < b else b


@compiled
def _most(a: Any, b: Any) -> Any:
    return a if a > b else b


@compiled
def _move(near: Any, cells: Any, first: Any, size: Any, step: Any) -> None:
    """Add counts times ``step`` to the cells from ``first`` on, and reset them."""
    for i in range(size):
        cells[np.uint64(first + i)] += step * np.int64(near[i])
        near[i] = 0


@compiled
def _running_sums(counts: Any, sums: Any) -> Any:
    """Write the running sums of counts, integers; return the total."""
    total = sums.dtype.type(0)
    for k in range(len(counts)):
        total = sums.dtype.type(total + counts[k])
        sums[k] = total
    return total


@compiled_in_any_order
def _sum(values: Any, length: Any) -> Any:
    total = 0.0
    for i in range(length):
        total += np.float64(to_float(values[np.uint64(i)]))
    return total


@compiled
def _widen_bins(numbers: Any, width: Any, length: Any, along_neurons: Any, low: Any, high: Any) -> None:
    """Update ``low`` and ``high`` of each neuron by a tile's numbers."""
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


@compiled
def _expect(counts: Any, activations: Any, cumulative: Any, expected: Any, begin: Any) -> None:
    """Write a reference's running sums, scaled to the activations of an image, from ``begin`` on."""
    total = _running_sums(counts, cumulative)
    for k in range(len(counts)):
        expected[begin + k] = cumulative[k] * (activations / total)


@compiled
def _expect_tile(
    references: Any, neuron: Any, width: Any, step: Any, activations: Any, cumulative: Any, expected: Any
) -> None:
    """Write scaled running sums of all references for a tile's neurons, ``step`` neurons apart."""
    for s in range(len(references)):
        for j in range(width):
            target = (s * step + j) * references.shape[2]
            _expect(references[s, neuron + j], activations, cumulative, expected, target)


@compiled
def _sum_cells(cells: Any, low: Any, high: Any, sums: Any) -> None:
    """Write the running sums of the cells from ``low`` to ``high``, then reset the cells to zero."""
    total: Any = np.int32(0)
    for k in range(low, high + 1):
        total = np.int32(total + cells[np.uint64(k)])
        sums[np.uint64(k - low)] = total
        cells[np.uint64(k)] = 0


@compiled
def _keep(stored: Any, start: Any, sums: Any, low: Any, high: Any, are_few: Any) -> None:
    """Store a histogram: the sorted bins of activations if these are few, else all counts."""
    previous: Any = np.int32(0)
    for k in range(low, high + 1):
        total = sums[np.uint64(k - low)]
        if are_few:
            for i in range(previous, total):
                stored[np.uint64(start + i)] = k
        else:
            stored[np.uint64(start + k)] = total - previous
        previous = total


@compiled
def _sort(
    stored: Any, start: Any, sums: Any, low: Any, row_begin: Any, numbers: Any, layout: Any, column: Any, width: Any
) -> None:
    """Store sorted bins like :func:`_keep`, by counting sort of a tile's numbers; overwrites the running sums."""
    begin, step = (column, width) if layout.along_neurons else (column * layout.positions, 1)
    for i in range(layout.positions):
        number = numbers[np.uint64(begin + i * step)]
        place = sums[np.uint64(number - low)] - 1
        sums[np.uint64(number - low)] = place
        stored[np.uint64(start + place)] = number - row_begin


@compiled
def _sum_kept(stored: Any, start: Any, size: Any, sums: Any) -> None:
    """Write the running sums of stored counts."""
    total: Any = np.int32(0)
    for k in range(size):
        total = np.int32(total + stored[np.uint64(start + k)])
        sums[np.uint64(k)] = total


@compiled
def _prepare_few(expected: Any, count: Any, areas: Any, crossings: Any) -> None:
    """Prepare :func:`_distance_of_few` from the expected running sums, which are nondecreasing.

    ``areas`` are their running sums, and ``crossings`` the first bin that reaches each number of activations.
    """
    reached, area = 0, 0.0
    for k in range(len(expected)):
        areas[k] = area
        area += expected[k]
        while reached <= count and expected[k] >= reached:
            crossings[reached] = k
            reached += 1
    areas[len(expected)] = area
    crossings[reached : count + 1] = len(expected)


@compiled
def _distance_of_few(stored: Any, start: Any, size: Any, areas: Any, crossings: Any) -> Any:
    """Compute :func:`_distance` from sorted bins of activations, between which running sums are constant.

    The expected sums cross each constant once, so the areas on either side follow from running sums.
    """
    current_bin = np.int64(stored[np.uint64(start)])
    distance = areas[np.uint64(current_bin)]
    for i in range(size):
        level = i + 1
        next_bin = np.int64(stored[np.uint64(start + level)]) if level < size else np.int64(len(areas) - 1)
        middle = min(max(crossings[np.uint64(level)], current_bin), next_bin)
        distance += level * (2 * middle - current_bin - next_bin)
        distance += areas[np.uint64(current_bin)] + areas[np.uint64(next_bin)] - 2 * areas[np.uint64(middle)]
        current_bin = next_bin
    return distance


@compiled_in_any_order
def _distance(sums: Any, low: Any, high: Any, expected: Any, begin: Any, num_bins: Any, activations: Any) -> Any:
    """Sum the absolute differences of a histogram's running sums and the expected ones, from ``begin`` on.

    Bins from ``low`` to ``high`` have all ``activations``, and ``sums`` begins with that of ``low``.
    """
    distance = 0.0
    for k in range(begin, begin + low):
        distance += expected[np.uint64(k)]
    for k in range(low, high + 1):
        distance += abs(sums[np.uint64(k - low)] - expected[np.uint64(begin + k)])
    for k in range(begin + high + 1, begin + num_bins):
        distance += abs(activations - expected[np.uint64(k)])
    return distance
