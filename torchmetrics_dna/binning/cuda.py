"""Counting activations on CUDA in one pass over them, by Triton; equal to the reference to the last count.

Counts are integers, so it does not matter in which order blocks add theirs. Nothing here waits for the device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import triton
import triton.language as tl

from torchmetrics_dna.binning.layouts import picture_rows, placed

if TYPE_CHECKING:
    from torch import Tensor

    from torchmetrics_dna.binning.bins import Bins
    from torchmetrics_dna.binning.layouts import Parts

_BLOCK = 1024  # activations at a time
_BLOCKS = 16  # of a program
_MOST_SHARED_BINS = 4096  # whose counts, 16 KiB, one program keeps to itself
_COLUMNS = 32  # neurons of a program where they lie together: a cache line of float32


def add_counts_(counts: Tensor, parts: Parts, bins: Bins, accepted: Tensor | None = None) -> None:
    """As :func:`torchmetrics_dna.binning.histogram.add_counts_`, which is the reference; ``counts`` are contiguous."""
    if accepted is None:
        accepted = counts.new_ones(())
    for here, layer in placed(parts):
        if layer.numel():
            _count_layer(counts[here], layer, bins.take(here), accepted)


def _count_layer(counts: Tensor, layer: Tensor, bins: Bins, accepted: Tensor) -> None:
    rows = picture_rows(layer)
    images, neurons, row_count, positions = rows.shape
    image_stride, neuron_stride, row_stride, stride = rows.stride()
    total = images * row_count * positions
    given = (
        rows, counts, accepted, bins.centre, bins.scale, bins.first, bins.offset, bins.factor, bins.num_bins,
        total, row_count * positions, positions, image_stride, neuron_stride, row_stride, stride,
    )  # fmt: skip
    shared = triton.next_power_of_2(bins.num_bins + 1)
    if neuron_stride < stride or shared > _MOST_SHARED_BINS:
        grid = (triton.cdiv(neurons, _COLUMNS), triton.cdiv(total, _BLOCK // _COLUMNS * _BLOCKS))
        _count_columns[grid](*given, neurons, rows=_BLOCK // _COLUMNS, columns=_COLUMNS, blocks=_BLOCKS)
    else:
        _count_rows[neurons, triton.cdiv(total, _BLOCK * _BLOCKS)](*given, cells=shared, block=_BLOCK, blocks=_BLOCKS)


@triton.jit  # type: ignore[untyped-decorator]
def _bin_of(x: Any, centre: Any, scale: Any, first: Any, offset: Any, factor: Any, num_bins: Any) -> Any:
    """The formula of Bins, in float64."""
    t = tl.floor(((x.to(tl.float64) - centre) / scale + offset) * factor) - first
    t = tl.where(t > 0.0, t, 0.0)  # 0 also where t is NaN, which tl.maximum may keep
    return tl.minimum(t, num_bins - 1.0).to(tl.int32)


@triton.jit  # type: ignore[untyped-decorator]
def _place(i: Any, per_image: Any, positions: Any, image_stride: Any, row_stride: Any, stride: Any) -> Any:
    """Where the i-th activation of a neuron lies."""
    rest = i % per_image
    return (
        (i // per_image).to(tl.int64) * image_stride
        + (rest // positions).to(tl.int64) * row_stride
        + (rest % positions).to(tl.int64) * stride
    )


@triton.jit  # type: ignore[untyped-decorator]
def _count_rows(
    values: Any, counts: Any, accepted: Any, centre: Any, scale: Any, first: Any, offset: Any, factor: Any,
    num_bins: Any, total: Any, per_image: Any, positions: Any,
    image_stride: Any, neuron_stride: Any, row_stride: Any, stride: Any,
    cells: tl.constexpr, block: tl.constexpr, blocks: tl.constexpr,
) -> None:  # fmt: skip
    """One neuron, and some of its activations, counted on the multiprocessor and then added at once."""
    neuron = tl.program_id(0)
    begin = tl.program_id(1) * block * blocks
    middle, width, lowest = tl.load(centre + neuron), tl.load(scale + neuron), tl.load(first + neuron)
    found = tl.zeros((cells,), tl.int32)
    for k in range(blocks):
        i = begin + k * block + tl.arange(0, block)
        here = neuron.to(tl.int64) * neuron_stride + _place(i, per_image, positions, image_stride, row_stride, stride)
        x = tl.load(values + here, mask=i < total, other=0.0)
        number = _bin_of(x, middle, width, lowest, offset, factor, num_bins)
        found += tl.histogram(tl.where(i < total, number, num_bins), cells)  # what is not there, in a cell of its own
    cell = tl.arange(0, cells)
    there = counts + neuron.to(tl.int64) * num_bins + cell
    tl.atomic_add(there, found.to(tl.int64) * tl.load(accepted), mask=(cell < num_bins) & (found > 0))


@triton.jit  # type: ignore[untyped-decorator]
def _count_columns(
    values: Any, counts: Any, accepted: Any, centre: Any, scale: Any, first: Any, offset: Any, factor: Any,
    num_bins: Any, total: Any, per_image: Any, positions: Any,
    image_stride: Any, neuron_stride: Any, row_stride: Any, stride: Any, neurons: Any,
    rows: tl.constexpr, columns: tl.constexpr, blocks: tl.constexpr,
) -> None:  # fmt: skip
    """Some neurons that lie together, and some activations of each, added one by one."""
    neuron = (tl.program_id(0) * columns + tl.arange(0, columns))[None, :]
    known = neuron < neurons
    middle = tl.load(centre + neuron, mask=known, other=0.0)
    width = tl.load(scale + neuron, mask=known, other=1.0)
    lowest = tl.load(first + neuron, mask=known, other=0.0)
    one = tl.load(accepted)
    for k in range(blocks):
        i = ((tl.program_id(1) * blocks + k) * rows + tl.arange(0, rows))[:, None]
        inside = (i < total) & known
        here = neuron.to(tl.int64) * neuron_stride + _place(i, per_image, positions, image_stride, row_stride, stride)
        x = tl.load(values + here, mask=inside, other=0.0)
        number = _bin_of(x, middle, width, lowest, offset, factor, num_bins)
        tl.atomic_add(counts + neuron.to(tl.int64) * num_bins + number, one, mask=inside)
