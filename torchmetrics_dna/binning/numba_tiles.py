"""Bin numbers of activations in any memory layout, tile by tile, compiled by numba.

A tile is what stays in the first-level cache: some neurons by some positions of one image. It is read once, along
whichever axis lies together in memory, and its bin numbers are written one after another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numba import njit, types
from numba.extending import overload

from torchmetrics_dna.binning.layouts import picture_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from torchmetrics_dna.binning.bins import Bins

TILE = 2048  # bin numbers
_TASK = 1 << 16  # activations that are worth a task of their own
_MOST_BINS = 1 << 26  # so that bin numbers of a tile's neurons fit 32 bits
_VIEWS = {
    torch.float32: (torch.float32, np.float32),
    torch.float64: (torch.float64, np.float64),
    torch.float16: (torch.int16, np.int16),  # numba knows no half precision, so their bits are read
    torch.bfloat16: (torch.int16, np.uint16),
}


class Layout(NamedTuple):
    """How one layer lies in memory, in elements, and how it is cut into tiles."""

    offset: int
    image_stride: int
    neuron_stride: int
    row_stride: int
    stride: int
    images: int
    rows: int
    positions: int  # of a row
    along_neurons: bool  # neurons lie together
    width: int  # neurons of a tile
    length: int  # positions of a tile


class Work(NamedTuple):
    """Neurons of a layer that one call counts: ``begin`` to ``end`` of it, and its first among all."""

    layer: str
    memory: NDArray[Any]
    layout: Layout
    begin: int
    end: int
    first: int


def covers(activations: Mapping[str, Tensor], num_bins: int) -> bool:
    """Whether tiles can be made of these: in this machine's memory, of a floating type that has a reading."""
    return num_bins <= _MOST_BINS and all(
        layer.device.type == "cpu" and layer.dtype in _VIEWS for layer in activations.values()
    )


def as_arrays(bins: Bins) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float, float, int]:
    """Bins as compiled code takes them."""
    ends = (tensor.contiguous().numpy() for tensor in (bins.centre, bins.scale, bins.first))
    return (*ends, float(bins.offset), float(bins.factor), bins.num_bins)  # type: ignore[return-value]


def share_out(activations: Mapping[str, Tensor], widest: int = 64) -> Iterator[Work]:
    """All neurons, in pieces that keep torch's threads busy until the end; tiles have up to ``widest`` neurons."""
    task = max(_TASK, sum(layer.numel() for layer in activations.values()) // (8 * torch.get_num_threads()))
    first = 0
    for name, layer in activations.items():
        _images, neurons = layer.shape[:2]
        if layer.numel():
            memory, layout = _read(layer, widest)
            step = -(-task // (layer.numel() // neurons) // layout.width) * layout.width
            for begin in range(0, neurons, step):
                yield Work(name, memory, layout, begin, min(begin + step, neurons), first)
        first += neurons


def _read(layer: Tensor, widest: int) -> tuple[NDArray[Any], Layout]:
    """A layer's whole storage as numbers, and where in it the layer lies."""
    rows = picture_rows(layer)
    images, neurons, row_count, positions = rows.shape
    image_stride, neuron_stride, row_stride, stride = rows.stride()
    along_neurons = neurons > 1 and (positions == 1 or neuron_stride < stride)
    width = min(widest if along_neurons else 4, neurons)
    layout = Layout(
        int(rows.storage_offset()), image_stride, neuron_stride, row_stride, stride,
        images, row_count, positions, along_neurons, width, min(TILE // width, positions),
    )  # fmt: skip
    bits, dtype = _VIEWS[layer.dtype]
    everything = rows.as_strided((rows.untyped_storage().nbytes() // rows.itemsize,), (1,), 0)
    return everything.view(bits).numpy().view(dtype), layout


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


@njit(nogil=True, error_model="numpy", cache=True)
def bin_tile(
    memory: Any, layout: Any, image: Any, row: Any, position: Any, length: Any, neuron: Any, width: Any,
    first: Any, bins: Any, staged: Any, found: Any,
) -> Any:  # fmt: skip
    """Write ``neuron * num_bins + bin`` of a tile, neurons numbered within it, to ``found``; whether all are finite."""
    centre, scale, start, offset, factor, num_bins = bins
    top = np.float64(num_bins - 1)
    infinite = np.int32(0)
    begin = (
        layout.offset + image * layout.image_stride + row * layout.row_stride
        + position * layout.stride + neuron * layout.neuron_stride
    )  # fmt: skip
    if layout.along_neurons:
        centres = centre[first + neuron : first + neuron + width]
        scales = scale[first + neuron : first + neuron + width]
        starts = start[first + neuron : first + neuron + width]
        for i in range(length):
            values = _run(memory, begin + i * layout.stride, layout.neuron_stride, width, staged)
            numbers = found[i * width : (i + 1) * width]
            for j in range(width):
                x = to_double(values[j])
                infinite |= np.int32(not (abs(x) < np.inf))
                t = np.floor(((x - centres[j]) / scales[j] + offset) * factor) - starts[j]
                t = t if t > 0.0 else 0.0
                t = t if t < top else top
                numbers[j] = np.int32(t) + np.int32(j * num_bins)
        return infinite == 0
    for j in range(width):
        values = _run(memory, begin + j * layout.neuron_stride, layout.stride, length, staged)
        numbers = found[j * length : (j + 1) * length]
        middle, half, lowest = centre[first + neuron + j], scale[first + neuron + j], start[first + neuron + j]
        base = np.int32(j * num_bins)
        for i in range(length):
            x = to_double(values[i])
            infinite |= np.int32(not (abs(x) < np.inf))
            t = np.floor(((x - middle) / half + offset) * factor) - lowest
            t = t if t > 0.0 else 0.0
            t = t if t < top else top
            numbers[i] = np.int32(t) + base
    return infinite == 0


@njit(nogil=True, error_model="numpy", cache=True)
def _run(memory: Any, begin: Any, stride: Any, length: Any, staged: Any) -> Any:
    """Values that lie one ``stride`` apart, together: as they are, or copied."""
    if stride == 1:
        return memory[begin : begin + length]
    for i in range(length):
        staged[i] = memory[begin + i * stride]
    return staged[:length]


@njit(nogil=True, error_model="numpy", cache=True)
def add_tile(counts: Any, begin: Any, numbers: Any, step: Any) -> None:
    """Add ``step`` to the cells ``begin + numbers`` of flat counts."""
    # four places at a time, far apart, since counting the same cell twice in a row waits for the memory
    quarter = len(numbers) // 4
    start = np.uint64(begin)
    for i in range(quarter):
        counts[start + np.uint64(numbers[i])] += step
        counts[start + np.uint64(numbers[i + quarter])] += step
        counts[start + np.uint64(numbers[i + 2 * quarter])] += step
        counts[start + np.uint64(numbers[i + 3 * quarter])] += step
    for i in range(4 * quarter, len(numbers)):
        counts[start + np.uint64(numbers[i])] += step
