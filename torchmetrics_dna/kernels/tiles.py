"""What numba compiles to go through activations, tile by tile: bin numbers, counts, distances, sums and extremes.

All in one file: numba keeps compiled code for as long as the file of a function stays the same, and does not look at
what the function calls in other files. Where ``compile.py`` changes, touch this file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from torchmetrics_dna.kernels.compile import compiled, compiled_in_any_order, compiled_with_fused_terms


def to_double(raw: Any) -> Any:
    """A value, or its bits, as float64; numba takes the implementation below."""
    raise NotImplementedError


@overload(to_double)
def _to_double(raw: Any) -> Any:
    if raw == types.int16:
        return _half_to_double
    if raw == types.uint16:
        return _bfloat16_to_double
    return _float_to_double


def _float_to_double(raw: Any) -> Any:
    return np.float64(raw)


def _half_to_double(raw: Any) -> Any:
    bits = np.uint32(np.uint32(raw) & np.uint32(0x7FFF))
    # the same digits under float32's exponents, which begin 112 lower
    size = np.uint32(bits << np.uint32(13)).view(np.float32) * np.float32(2.0**112)
    if bits >= np.uint32(0x7C00):
        size = np.float32(np.inf)
    return np.float64(-size if raw < 0 else size)


def _bfloat16_to_double(raw: Any) -> Any:
    return np.float64(np.uint32(np.uint32(raw) << np.uint32(16)).view(np.float32))


@compiled
def place(layout: Any, image: Any, neuron: Any, row: Any, position: Any) -> Any:
    """Where in memory a tile begins."""
    return layout.origins[image] + neuron * layout.neuron_stride + row * layout.row_stride + position * layout.stride


@compiled
def stage(memory: Any, layout: Any, begin: Any, width: Any, length: Any, staged: Any) -> None:
    """Copy ``width`` neurons by ``length`` positions to ``staged``, along whichever axis lies together in memory.

    Also where they lie so already: a copy asks for many cache lines at once, slow arithmetic for one after another.
    """
    rows, row_stride, size, stride = width, layout.neuron_stride, length, layout.stride
    if layout.along_neurons:
        rows, row_stride, size, stride = length, layout.stride, width, layout.neuron_stride
    if stride == 1 and row_stride == size:
        size, rows = rows * size, 1
    for k in range(rows):
        there, here = k * size, begin + k * row_stride
        if stride == 1:
            for j in range(size):
                staged[np.uint64(there + j)] = memory[np.uint64(here + j)]
        else:
            for j in range(size):
                staged[np.uint64(there + j)] = memory[np.uint64(here + j * stride)]


@compiled
def are_finite(values: Any, begin: Any, size: Any) -> Any:
    """Whether ``size`` values from ``begin`` on are neither NaN nor infinite."""
    odd = np.int32(0)
    for i in range(size):
        odd = max(odd, np.int32(0) if abs(to_double(values[np.uint64(begin + i)])) < np.inf else np.int32(1))
    return odd == 0


_BLOCK = 256  # activations of a neuron that are binned at once
_ROUNDING = 1.01 * 2.0**-24  # of float32, and some more for what is rounded after rounding
_MOST_ERROR = 2.0**-9  # in bins, with which rough numbers are worth it
_MOST_SLOPE = 2.0**100  # or products leave float32
_NEVER = -1.0
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
    # many activations are first counted in 32 bits, of which enough stay in the first-level cache
    near = np.zeros(layout.width * num_bins, np.uint32)
    is_near = num_bins <= 2 * layout.images * layout.rows * layout.positions < 2**32
    fine = True
    for neuron in range(begin, end, layout.width):
        width = min(layout.width, end - neuron)
        rule = _rule_of(bins, first + neuron, width, layout)
        begin_cells = (first + neuron) * num_bins
        for image in range(layout.images):
            for row in range(layout.rows):
                for position in range(0, layout.positions, layout.length):
                    length = min(layout.length, layout.positions - position)
                    here = place(layout, image, neuron, row, position)
                    fine &= _bin_tile(memory, layout, here, width, length, rule, bins, staged, numbers)
                    if is_near:
                        _add(near, 0, numbers, width * length, layout.along_neurons, np.uint32(1))
                    else:
                        _add(cells, begin_cells, numbers, width * length, layout.along_neurons, step)
        if is_near:
            _move(near, cells, begin_cells, width * num_bins, step)
    return fine


@compiled
def fill_neurons(
    memory: Any, layout: Any, begin: Any, end: Any, first: Any, bins: Any, references: Any, weights: Any,
    distances: Any, kept: Any, starts: Any, cells: Any,
) -> Any:  # fmt: skip
    """Write the distances between single images and references, for some neurons of a layer; whether all are finite.

    ``references`` has counts, shape ``(S, N, num_bins)``; ``weights`` shape ``(N,)``, and neurons of weight 0 are left
    out; ``distances`` shape ``(S, B, N)``. ``kept`` gets the histograms of the images as :class:`SingleRows` says,
    shape ``(B, L)``, where ``starts``, shape ``(N + 1,)``, gives a neuron room. ``cells`` are zeros for a tile's
    histograms, of an integer type that holds the count of an image's activations. The rest as :func:`count_neurons`.

    """
    num_bins, activations = references.shape[2], layout.rows * layout.positions
    numbers = np.empty(layout.width * layout.length, np.int32)
    staged = np.empty(layout.width * layout.length, memory.dtype)
    known, sums = np.empty(num_bins, np.int64), np.empty(num_bins, np.int32)
    expected = np.empty(len(references) * layout.width * num_bins)
    low, high = np.empty(layout.width, np.int32), np.empty(layout.width, np.int32)
    are_few = activations < num_bins  # else going through all bins is faster than to see how far activations reach
    is_whole = are_few and layout.rows == 1 and layout.length >= layout.positions  # a tile holds all of an image
    for neuron in range(begin, end, layout.width):
        width = min(layout.width, end - neuron)
        if not weights[first + neuron : first + neuron + width].any():
            continue
        _expect_tile(references, first + neuron, width, layout.width, activations, known, expected)
        rule = _rule_of(bins, first + neuron, width, layout)
        for image in range(layout.images):
            for j in range(width):
                low[j], high[j] = (len(cells), -1) if are_few else (j * num_bins, (j + 1) * num_bins - 1)
            for row in range(layout.rows):
                for position in range(0, layout.positions, layout.length):
                    length = min(layout.length, layout.positions - position)
                    here = place(layout, image, neuron, row, position)
                    if not _bin_tile(memory, layout, here, width, length, rule, bins, staged, numbers):
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
                    there = (s * layout.width + j) * num_bins
                    distance = _distance(sums, lowest, highest, expected, there, num_bins, activations)
                    distances[s, image, n] = distance / activations
                if starts[n] < starts[n + 1] and is_whole:
                    _sort(kept[image], starts[n], sums, low[j], row_begin, numbers, layout, j, width)
                elif starts[n] < starts[n + 1]:
                    _keep(kept[image], starts[n], sums, lowest, highest, are_few)
    return True


@compiled
def fill_from_rows(
    kept: Any, starts: Any, activations: Any, begin: Any, end: Any, references: Any, distances: Any
) -> None:
    """As :func:`fill_neurons`, from histograms that were kept, of images whose neurons have so many ``activations``."""
    num_bins = references.shape[2]
    known, sums = np.empty(num_bins, np.int64), np.empty(num_bins, np.int32)
    expected, areas = np.empty(num_bins), np.empty(num_bins + 1)
    crossings = np.empty(num_bins + 1, np.int64)
    for n in range(begin, end):
        size, count = starts[n + 1] - starts[n], activations[n]
        if size == 0:
            continue
        for s in range(len(references)):
            _expect(references[s, n], count, known, expected, 0)
            if count < num_bins:
                _prepare_few(expected, count, areas, crossings)
            for image in range(len(kept)):
                if count < num_bins:
                    distance = _distance_of_few(kept[image], starts[n], size, areas, crossings)
                else:
                    _sum_kept(kept[image], starts[n], size, sums)
                    distance = _distance(sums, 0, num_bins - 1, expected, 0, num_bins, count)
                distances[s, image, n] = distance / count


@compiled
def count_from_rows(kept: Any, starts: Any, activations: Any, begin: Any, end: Any, counts: Any) -> None:
    """Add histograms that were kept, of some neurons, to ``counts``, shape ``(N, num_bins)``."""
    cells, num_bins = counts.reshape(-1), counts.shape[1]
    for image in range(len(kept)):
        row = kept[image]
        for n in range(begin, end):
            here, size, first = starts[n], starts[n + 1] - starts[n], n * num_bins
            if activations[n] < num_bins:
                for i in range(size):
                    cells[np.uint64(first + row[np.uint64(here + i)])] += 1
            else:
                for i in range(size):
                    cells[np.uint64(first + i)] += row[np.uint64(here + i)]


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
                    here = place(layout, image, neuron, row, position)
                    if layout.along_neurons:
                        stage(memory, layout, here, width, length, staged)
                        for k in range(length):
                            for j in range(width):
                                found[j] += to_double(staged[np.uint64(k * width + j)])
                    else:
                        for j in range(width):
                            stage(memory, layout, here + j * layout.neuron_stride, 1, length, staged)
                            found[j] += _sum(staged, length)


@compiled
def extremes_of_neurons(memory: Any, layout: Any, begin: Any, end: Any, first: Any, extremes: Any) -> None:
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
                    here = place(layout, image, neuron, row, position)
                    stage(memory, layout, here, width, length, staged)
                    if layout.along_neurons:
                        _widen(staged, 0, length, width, low, high)
                    else:
                        whole = length // _LANES
                        _widen(staged, 0, whole, _LANES, low, high)
                        _widen(staged, whole * _LANES, 1, length - whole * _LANES, low, high)
                    fine &= are_finite(staged, 0, width * length)
        if not layout.along_neurons:
            low[0], high[0] = low.min(), high.max()
        for j in range(width):
            extremes[0, first + neuron + j] = -low[j] if fine else np.nan
            extremes[1, first + neuron + j] = high[j] if fine else np.nan


@compiled
def _rule_of(bins: Any, neuron: Any, width: Any, layout: Any) -> Any:
    """The bins of a tile's neurons, repeated for as many activations as one loop goes through: exact, rough, and cells.

    A rough number is ``(x - centre) * slope + shift`` in float32. With x, centre, slope and shift rounded, and each
    result, it is off by less than ``error``; bins are sure of numbers that far from their ends.
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
        rough[3, 0] = _NEVER  # for all that go through one loop
    return exact, rough, cells


@compiled
def _bin_tile(
    memory: Any, layout: Any, begin: Any, width: Any, length: Any, rule: Any, bins: Any, staged: Any, numbers: Any
) -> Any:
    """Write ``neuron * num_bins + bin``, neurons numbered within the tile, to ``numbers``; whether all are finite.

    Arrays are indexed, not sliced, here and in what follows: to count who holds a slice would take as long as to go
    through a short row.
    """
    exact, rough, cells = rule
    many = layout.run > 1
    rows, size, block = (1, width * length, len(cells)) if many else (width, length, _BLOCK)
    fine = True
    for j in range(rows):
        here, values = begin + j * layout.neuron_stride, memory
        if many or layout.stride != 1:
            stage(memory, layout, here, width // rows, length, staged)
            here, values = 0, staged
        for k in range(here, here + size, block):
            some, there = min(block, here + size - k), j * size + k - here
            if rough[3, j] == _NEVER or not _bin_roughly(values, k, some, rough, cells, j, many, bins, numbers, there):
                fine &= are_finite(values, k, some)
                _bin_exactly(values, k, some, exact, j, many, bins, numbers, there)
    return fine


@compiled
def _bin_exactly(
    values: Any, begin: Any, size: Any, exact: Any, first: Any, many: Any, bins: Any, numbers: Any, there: Any
) -> None:
    """Write the cells of ``size`` values from ``begin`` on; some cell of the neuron for NaN."""
    offset, factor = bins[3], bins[4]
    for i in range(size):
        j = np.uint64(first + i) if many else np.uint64(first)
        x = to_double(values[np.uint64(begin + i)])
        cell = np.floor(((x - exact[0, j]) / exact[1, j] + offset) * factor) - exact[2, j] + exact[3, j]
        cell = cell if cell > exact[3, j] else exact[3, j]
        numbers[np.uint64(there + i)] = np.int32(cell if cell < exact[4, j] else exact[4, j])


@compiled_with_fused_terms
def _bin_roughly(
    values: Any, begin: Any, size: Any, rough: Any, cells: Any, first: Any, many: Any, bins: Any, numbers: Any,
    there: Any,
) -> Any:  # fmt: skip
    """Likewise, twice as fast; whether all are finite and sure to be exact."""
    half, most, unsure = np.float32(0.5), np.float32(bins[5] - 0.5), np.int32(0)
    for i in range(size):
        j = np.uint64(first + i) if many else np.uint64(first)
        x = np.float32(to_double(values[np.uint64(begin + i)]))
        t = (x - rough[0, j]) * rough[1, j] + rough[2, j]
        t = t if t > half else half
        t = t if t < most else most
        number = np.int32(t)
        sure = abs(t - np.float32(number) - half) < rough[3, j] and abs(x) < np.float32(np.inf)
        unsure = max(unsure, np.int32(0) if sure else np.int32(1))
        numbers[np.uint64(there + i)] = np.int32(number + cells[j])
    return unsure == 0


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
def _widen(values: Any, origin: Any, rows: Any, width: Any, low: Any, high: Any) -> None:
    """Lower ``low`` and raise ``high``, one for each column, as far as values reach."""
    for k in range(rows):
        for j in range(width):
            x = to_double(values[np.uint64(origin + k * width + j)])
            low[j] = x if x < low[j] else low[j]
            high[j] = x if x > high[j] else high[j]


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
def _widen_bins(numbers: Any, width: Any, length: Any, along_neurons: Any, low: Any, high: Any) -> None:
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


@compiled
def _expect(counts: Any, activations: Any, known: Any, expected: Any, begin: Any) -> None:
    """Write a reference's running sums, as if it had as many activations as an image, from ``begin`` on."""
    total = _running_sums(counts, known)
    for k in range(len(counts)):
        expected[begin + k] = known[k] * (activations / total)


@compiled
def _expect_tile(
    references: Any, neuron: Any, width: Any, step: Any, activations: Any, known: Any, expected: Any
) -> None:
    """Likewise, of all references for a tile's neurons; of each reference, ``step`` neurons after the one before."""
    for s in range(len(references)):
        for j in range(width):
            there = (s * step + j) * references.shape[2]
            _expect(references[s, neuron + j], activations, known, expected, there)


@compiled
def _sum_cells(cells: Any, low: Any, high: Any, sums: Any) -> None:
    """Write the running sums of the cells from ``low`` to ``high``, which are zeros again after it."""
    total: Any = np.int32(0)
    for k in range(low, high + 1):
        total = np.int32(total + cells[np.uint64(k)])
        sums[np.uint64(k - low)] = total
        cells[np.uint64(k)] = 0


@compiled
def _keep(kept: Any, start: Any, sums: Any, low: Any, high: Any, are_few: Any) -> None:
    """Write one histogram: the bin of each activation, ascending, where these are few; else all counts."""
    before: Any = np.int32(0)
    for k in range(low, high + 1):
        total = sums[np.uint64(k - low)]
        if are_few:
            for i in range(before, total):
                kept[np.uint64(start + i)] = k
        else:
            kept[np.uint64(start + k)] = total - before
        before = total


@compiled
def _sort(
    kept: Any, start: Any, sums: Any, low: Any, row_begin: Any, numbers: Any, layout: Any, column: Any, width: Any
) -> None:
    """As :func:`_keep` where activations are few, from a tile's numbers and running sums, which are lost."""
    begin, step = (column, width) if layout.along_neurons else (column * layout.positions, 1)
    for i in range(layout.positions):
        number = numbers[np.uint64(begin + i * step)]
        place = sums[np.uint64(number - low)] - 1
        sums[np.uint64(number - low)] = place
        kept[np.uint64(start + place)] = number - row_begin


@compiled
def _sum_kept(kept: Any, start: Any, size: Any, sums: Any) -> None:
    """Write the running sums of counts that were kept."""
    total: Any = np.int32(0)
    for k in range(size):
        total = np.int32(total + kept[np.uint64(start + k)])
        sums[np.uint64(k)] = total


@compiled
def _prepare_few(expected: Any, count: Any, areas: Any, crossings: Any) -> None:
    """Write what :func:`_distance_of_few` needs of what is expected, which never falls.

    ``areas`` are running sums, and ``crossings`` the first bin that reaches each number of activations.
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
def _distance_of_few(kept: Any, start: Any, size: Any, areas: Any, crossings: Any) -> Any:
    """As :func:`_distance`, from one bin for each activation, ascending: between two bins running sums are level.

    There what is expected crosses them once, and areas on either side come from running sums.
    """
    here = np.int64(kept[np.uint64(start)])
    distance = areas[np.uint64(here)]
    for i in range(size):
        level = i + 1
        there = np.int64(kept[np.uint64(start + level)]) if level < size else np.int64(len(areas) - 1)
        middle = min(max(crossings[np.uint64(level)], here), there)
        distance += level * (2 * middle - here - there)
        distance += areas[np.uint64(here)] + areas[np.uint64(there)] - 2 * areas[np.uint64(middle)]
        here = there
    return distance


@compiled_in_any_order
def _distance(sums: Any, low: Any, high: Any, expected: Any, begin: Any, num_bins: Any, activations: Any) -> Any:
    """Sum of the differences between a histogram's running sums and those expected, which lie from ``begin`` on.

    Bins from ``low`` to ``high`` hold all ``activations``, and ``sums`` begins with that of ``low``.
    """
    distance = 0.0
    for k in range(begin, begin + low):
        distance += expected[np.uint64(k)]
    for k in range(low, high + 1):
        distance += abs(sums[np.uint64(k - low)] - expected[np.uint64(begin + k)])
    for k in range(begin + high + 1, begin + num_bins):
        distance += abs(activations - expected[np.uint64(k)])
    return distance
