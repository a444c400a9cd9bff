"""Counting activations on CUDA in one pass over them, by Triton; equal to the reference to the last count.

Counts are integers, so it does not matter in which order blocks add theirs. Nothing here waits for the device.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"
# Triton reads annotations of kernels, and refuses all but its own

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

from torchmetrics_dna.binning.layouts import picture_rows

if TYPE_CHECKING:
    from torch import Tensor

    from torchmetrics_dna.binning.bins import Bins

_BLOCK = 1024  # activations at a time
_BLOCKS = 16  # of a program
_MOST_SHARED_BINS = 4096  # whose counts, 16 KiB, one program keeps to itself
_COLUMNS = 32  # neurons of a program where they lie together: a cache line of float32


def add_layer_(counts: Tensor, layer: Tensor, bins: Bins, accepted: Tensor | None = None) -> None:
    """As :func:`torchmetrics_dna.binning.histogram.add_layer_`, which is the reference; ``counts`` are contiguous."""
    if not layer.numel():
        return
    if accepted is None:
        accepted = counts.new_ones(())
    rows = picture_rows(layer)
    images, neurons, row_count, positions = rows.shape
    image_stride, neuron_stride, row_stride, stride = rows.stride()
    total = images * row_count * positions
    given = (
        rows, counts, accepted, bins.centre, bins.scale, bins.first, bins.offset, bins.factor, bins.num_bins,
        neurons, total, row_count * positions, positions, image_stride, neuron_stride, row_stride, stride,
    )  # fmt: skip
    shared = triton.next_power_of_2(bins.num_bins + 1)
    # one axis of programs, since others end at 65,535; neighbours at once read what lies together
    with torch.cuda.device(counts.get_device()):  # Triton itself would take the current one; -1, the CPU, changes none
        if neuron_stride < stride or shared > _MOST_SHARED_BINS:
            some = _BLOCK // _COLUMNS
            grid = triton.cdiv(neurons, _COLUMNS) * triton.cdiv(total, some * _BLOCKS)
            _count_columns[grid,](*given, rows=some, columns=_COLUMNS, blocks=_BLOCKS, enable_fp_fusion=False)
        else:
            grid = neurons * triton.cdiv(total, _BLOCK * _BLOCKS)
            _count_rows[grid,](*given, cells=shared, block=_BLOCK, blocks=_BLOCKS, enable_fp_fusion=False)


@triton.jit
def _bin_of(x, centre, scale, first, offset, factor, num_bins):
    """The formula of Bins, in float64."""
    t = tl.floor(((x.to(tl.float64) - centre) / scale + offset) * factor) - first
    t = tl.where(t > 0.0, t, 0.0)  # 0 also where t is NaN, which tl.maximum may keep
    return tl.minimum(t, num_bins - 1.0).to(tl.int32)


@triton.jit
def _place(i, per_image, positions, image_stride, row_stride, stride):
    """Where the i-th activation of a neuron lies."""
    rest = i % per_image
    return (
        (i // per_image).to(tl.int64) * image_stride
        + (rest // positions).to(tl.int64) * row_stride
        + (rest % positions).to(tl.int64) * stride
    )


@triton.jit
def _count_rows(
    values, counts, accepted, centre, scale, first, offset, factor,
    num_bins, neurons, total, per_image, positions,
    image_stride, neuron_stride, row_stride, stride,
    cells: tl.constexpr, block: tl.constexpr, blocks: tl.constexpr,
):  # fmt: skip
    """One neuron, and some of its activations, counted on the multiprocessor and then added at once."""
    neuron = tl.program_id(0) % neurons
    begin = tl.program_id(0) // neurons * block * blocks
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


@triton.jit
def _count_columns(
    values, counts, accepted, centre, scale, first, offset, factor,
    num_bins, neurons, total, per_image, positions,
    image_stride, neuron_stride, row_stride, stride,
    rows: tl.constexpr, columns: tl.constexpr, blocks: tl.constexpr,
):  # fmt: skip
    """Some neurons that lie together, and some activations of each, added one by one."""
    groups = tl.cdiv(neurons, columns)
    neuron = (tl.program_id(0) % groups * columns + tl.arange(0, columns))[None, :]
    known = neuron < neurons
    middle = tl.load(centre + neuron, mask=known, other=0.0)
    width = tl.load(scale + neuron, mask=known, other=1.0)
    lowest = tl.load(first + neuron, mask=known, other=0.0)
    one = tl.load(accepted)
    for k in range(blocks):
        i = ((tl.program_id(0) // groups * blocks + k) * rows + tl.arange(0, rows))[:, None]
        inside = (i < total) & known
        here = neuron.to(tl.int64) * neuron_stride + _place(i, per_image, positions, image_stride, row_stride, stride)
        x = tl.load(values + here, mask=inside, other=0.0)
        number = _bin_of(x, middle, width, lowest, offset, factor, num_bins)
        tl.atomic_add(counts + neuron.to(tl.int64) * num_bins + number, one, mask=inside)
