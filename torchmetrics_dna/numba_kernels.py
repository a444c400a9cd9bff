"""What numba compiles: bin numbers, counts and distances, row by row.

All in one file, since numba keeps compiled code for as long as the file of a function stays the same, and does not look
at what the function calls in other files.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

_NEURONS = 32  # whose cells are counted in turns
_TINY = np.finfo(np.float64).tiny


def _compiled(function: Any, **options: Any) -> Any:
    """The function, compiled when it is first called, and kept on disk where there is a place for that."""
    options = {"nogil": True, "error_model": "numpy", **options}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # nothing can be written, neither beside this file nor for this user
        return njit(**options)(function)


def _compiled_in_any_order(function: Any) -> Any:
    """Likewise; terms may be added in any order, so that several are at once.

    The order depends on nothing but how many there are, so results do not change from call to call.
    """
    return _compiled(function, fastmath={"reassoc", "nsz"})


@_compiled
def count_neurons(memory: Any, layout: Any, begin: Any, end: Any, first: Any, bins: Any, counts: Any, step: Any) -> Any:
    """Add ``step`` for each activation of some neurons of a layer; whether all are finite.

    What is not finite counts too, always in the same cell, so that the opposite step takes everything back.

    Args:
        memory: All numbers, or bits, that the layer's storage holds.
        layout: Where the layer lies in them.
        begin: The first of the neurons, within the layer.
        end: The one after the last.
        first: The layer's first neuron among those of ``bins`` and ``counts``.
        bins: As a tuple of arrays and numbers.
        counts: Shape ``(N, num_bins)``.
        step: 1 or -1.

    """
    cells, num_bins = counts.reshape(-1), counts.shape[1]
    numbers, staged = _room(memory, layout)
    fine = True
    for neuron in range(begin, end, layout.width):
        width = min(layout.width, end - neuron)
        rule = _rule_of(bins, first + neuron, width, layout.run)
        for image in range(layout.images):
            for row in range(layout.rows):
                for position in range(0, layout.positions, layout.length):
                    length = min(layout.length, layout.positions - position)
                    found = numbers[: width * length]
                    fine &= _bin_tile(memory, layout, (image, neuron, row, position), rule, width, staged, found)
                    _add(cells[(first + neuron) * num_bins :], found, width, layout.along_neurons, step)
    return fine


@_compiled
def fill_neurons(
    memory: Any, layout: Any, begin: Any, end: Any, first: Any, bins: Any, reference: Any, weights: Any, distances: Any
) -> Any:
    """Write the distances between single images and a reference, for some neurons of a layer; whether all are finite.

    Args:
        memory: As :func:`count_neurons`, and so the four that follow.
        layout: -
        begin: -
        end: -
        first: -
        bins: -
        reference: Counts, shape ``(N, num_bins)``.
        weights: Shape ``(N,)``; neurons of weight 0 are left out.
        distances: Shape ``(B, N)``.

    """
    num_bins = reference.shape[1]
    numbers, staged = _room(memory, layout)
    cells, sums = np.empty((layout.width, num_bins), np.int32), np.empty(num_bins, np.int32)
    known, expected = np.empty(num_bins, np.int64), np.empty((layout.width, num_bins))
    activations = layout.rows * layout.positions
    fine = True
    for neuron in range(begin, end, layout.width):
        width = min(layout.width, end - neuron)
        here = first + neuron
        if not weights[here : here + width].any():
            continue
        for j in range(width):
            # the reference's sums, as if it had as many activations as an image
            total = _running_sums(reference[here + j], known)
            expected[j] = known * (activations / total)
        rule = _rule_of(bins, here, width, layout.run)
        for image in range(layout.images):
            cells[:width] = 0
            for row in range(layout.rows):
                for position in range(0, layout.positions, layout.length):
                    length = min(layout.length, layout.positions - position)
                    found = numbers[: width * length]
                    fine &= _bin_tile(memory, layout, (image, neuron, row, position), rule, width, staged, found)
                    _add(cells.reshape(-1), found, width, layout.along_neurons, np.int32(1))
            for j in range(width):
                if weights[here + j] != 0:
                    _running_sums(cells[j], sums)
                    distances[image, here + j] = _difference(sums, expected[j]) / activations
    return fine


@_compiled
def sum_neurons(memory: Any, layout: Any, begin: Any, end: Any, sums: Any) -> None:
    """Write some neurons' sums over positions to ``sums``, shape ``(B, n)``; the rest as :func:`count_neurons`."""
    staged = np.empty(layout.width * layout.length, memory.dtype)
    for neuron in range(begin, end, layout.width):
        width = min(layout.width, end - neuron)
        for image in range(layout.images):
            found = sums[image, neuron : neuron + width]
            found[:] = 0
            for row in range(layout.rows):
                start = layout.offset + image * layout.image_stride + neuron * layout.neuron_stride
                start += row * layout.row_stride
                if layout.along_neurons:
                    for position in range(layout.positions):
                        here = start + position * layout.stride
                        values = _gather(memory, here, layout.neuron_stride, width, staged)
                        for j in range(width):
                            found[j] += to_double(values[j])
                else:
                    for j in range(width):
                        for position in range(0, layout.positions, layout.length):
                            length = min(layout.length, layout.positions - position)
                            here = start + j * layout.neuron_stride + position * layout.stride
                            found[j] += _sum(_gather(memory, here, layout.stride, length, staged))


@_compiled
def emd_rows(counts_a: Any, counts_b: Any, found: Any) -> None:
    """Write the Earth Mover's Distance of each row of two sets of counts."""
    sums_a, sums_b = np.empty(counts_a.shape[1], np.int64), np.empty(counts_a.shape[1], np.int64)
    for row in range(len(found)):
        total_a, total_b = _running_sums(counts_a[row], sums_a), _running_sums(counts_b[row], sums_b)
        found[row] = _share_difference(sums_a, total_a, sums_b, total_b)


@_compiled
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
    sums_a, sums_b = np.empty(num_bins, np.int64), np.empty(num_bins, np.int64)
    differences = np.zeros(num_bins + 1)
    for row in range(len(found)):
        total_a, total_b = _running_sums(counts_a[row], sums_a), _running_sums(counts_b[row], sums_b)
        for k in range(num_bins):
            differences[k + 1] = sums_a[k] / total_a - sums_b[k] / total_b
        found[row] = _area(differences, begins[row], ends[row])


@_compiled
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


@_compiled
def _room(memory: Any, layout: Any) -> Any:
    """Where the numbers of a tile go, and its activations if they have to be gathered."""
    size = layout.width * layout.length
    return np.empty(size, np.int32), np.empty(size, memory.dtype)


@_compiled
def _rule_of(bins: Any, neuron: Any, width: Any, run: Any) -> Any:
    """The bins of a tile's neurons, repeated for as many positions as one loop goes through."""
    centre, scale, start, offset, factor, num_bins = bins
    size = width * run
    centres, scales, starts = np.empty(size), np.empty(size), np.empty(size)
    cells = np.empty(size, np.int32)
    for i in range(size):
        j = i % width
        centres[i], scales[i], starts[i] = centre[neuron + j], scale[neuron + j], start[neuron + j]
        cells[i] = j * num_bins
    return centres, scales, starts, cells, offset, factor, np.float64(num_bins - 1)


@_compiled
def _bin_tile(memory: Any, layout: Any, place: Any, rule: Any, width: Any, staged: Any, numbers: Any) -> Any:
    """Write ``neuron * num_bins + bin``, neurons numbered within the tile, to ``numbers``; whether all are finite.

    What is not finite gets the number 0.
    """
    image, neuron, row, position = place
    centres, scales, starts, cells, offset, factor, top = rule
    begin = (
        layout.offset + image * layout.image_stride + neuron * layout.neuron_stride
        + row * layout.row_stride + position * layout.stride
    )  # fmt: skip
    length = len(numbers) // width
    if layout.along_neurons:
        tile = _gather_tile(memory, begin, layout.stride, layout.neuron_stride, length, width, staged)
        for k in range(0, length, layout.run):
            size = min(layout.run, length - k) * width
            values = tile[k * width : k * width + size]
            found = numbers[k * width : k * width + size]
            for i in range(size):
                x = to_double(values[i])
                t = np.floor(((x - centres[i]) / scales[i] + offset) * factor) - starts[i]
                t = t if t > 0.0 else 0.0
                t = t if t < top else top
                found[i] = np.int32(t) + cells[i] if abs(x) < np.inf else np.int32(-1)
    else:
        for j in range(width):
            values = _gather(memory, begin + j * layout.neuron_stride, layout.stride, length, staged)
            found = numbers[j * length : (j + 1) * length]
            centre, scale, start, cell = centres[j], scales[j], starts[j], cells[j]
            for i in range(length):
                x = to_double(values[i])
                t = np.floor(((x - centre) / scale + offset) * factor) - start
                t = t if t > 0.0 else 0.0
                t = t if t < top else top
                found[i] = np.int32(t) + cell if abs(x) < np.inf else np.int32(-1)
    lowest = np.int32(0)
    for i in range(len(numbers)):
        lowest = min(lowest, numbers[i])
    if lowest < 0:
        for i in range(len(numbers)):
            numbers[i] = max(numbers[i], 0)
    return lowest == 0


@_compiled
def _gather_tile(memory: Any, begin: Any, stride: Any, neuron_stride: Any, length: Any, width: Any, staged: Any) -> Any:
    """The values of some positions, neuron by neuron: as they are if they lie together, else copied."""
    if neuron_stride == 1 and stride == width:
        return memory[begin : begin + length * width]
    # all at once, so that many can be on their way from memory at a time
    for k in range(length):
        there = staged[k * width : (k + 1) * width]
        here = _gather(memory, begin + k * stride, neuron_stride, width, there)
        for j in range(width):
            there[j] = here[j]
    return staged[: length * width]


@_compiled
def _gather(memory: Any, begin: Any, stride: Any, size: Any, staged: Any) -> Any:
    """Values that lie one ``stride`` apart: as they are if they lie together, else copied."""
    if stride == 1:
        return memory[begin : begin + size]
    for i in range(size):
        staged[i] = memory[begin + i * stride]
    return staged[:size]


@_compiled
def _add(cells: Any, numbers: Any, width: Any, along_neurons: Any, step: Any) -> None:
    """Add ``step`` to the cells of a tile's numbers."""
    if along_neurons:
        # few neurons at a time, whose cells lie in few enough pages of memory to be found at once
        for first in range(0, width, _NEURONS):
            last = min(first + _NEURONS, width)
            for begin in range(0, len(numbers), width):
                for i in range(begin + first, begin + last):
                    cells[np.uint64(numbers[np.uint64(i)])] += step
        return
    # four places at a time, far apart, since counting the same cell twice in a row waits for the memory
    quarter = len(numbers) // 4
    for i in range(quarter):
        cells[np.uint64(numbers[i])] += step
        cells[np.uint64(numbers[i + quarter])] += step
        cells[np.uint64(numbers[i + 2 * quarter])] += step
        cells[np.uint64(numbers[i + 3 * quarter])] += step
    for i in range(4 * quarter, len(numbers)):
        cells[np.uint64(numbers[i])] += step


@_compiled
def _running_sums(counts: Any, sums: Any) -> Any:
    """Write the running sums of counts, integers; gives the last."""
    total = sums.dtype.type(0)
    for k in range(len(counts)):
        total = sums.dtype.type(total + counts[k])
        sums[k] = total
    return total


@_compiled_in_any_order
def _share_difference(sums_a: Any, total_a: Any, sums_b: Any, total_b: Any) -> Any:
    distance = 0.0
    for k in range(len(sums_a)):
        distance += abs(sums_a[k] / total_a - sums_b[k] / total_b)
    return distance


@_compiled_in_any_order
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


@_compiled_in_any_order
def _sum(values: Any) -> Any:
    total = 0.0
    for i in range(len(values)):
        total += to_double(values[i])
    return total


@_compiled_in_any_order
def _difference(sums: Any, others: Any) -> Any:
    distance = 0.0
    for k in range(len(sums)):
        distance += abs(sums[k] - others[k])
    return distance
