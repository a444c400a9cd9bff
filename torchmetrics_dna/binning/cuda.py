"""Count activations on CUDA in one pass, by Triton; counts equal those of the reference.

Counts are integers, so the order of atomic additions does not matter. There is no device sync.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"
# Triton parses annotations of kernels, and accepts only its own

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
_BLOCKS = 16  # blocks of a program
_MOST_SHARED_BINS = 4096  # counts in shared memory of a program: 16 KiB
_COLUMNS = 32  # contiguous neurons of a program: a cache line of float32


def add_layer_(counts: Tensor, layer: Tensor, bins: Bins, accepted: Tensor | None = None) -> None:
    """Implement :func:`torchmetrics_dna.binning.histogram.add_layer_`, the reference, for contiguous ``counts``."""
    if not layer.numel():
        return
    if accepted is None:
        accepted = counts.new_ones(())
    rows = picture_rows(layer)
    images, neurons, row_count, positions = rows.shape
    image_stride, neuron_stride, row_stride, stride = rows.stride()
    total = images * row_count * positions
    arguments = (
        rows, counts, accepted, bins.centre, bins.scale, bins.first, bins.offset, bins.factor, bins.num_bins,
        neurons, total, row_count * positions, positions, image_stride, neuron_stride, row_stride, stride,
    )  # fmt: skip
    shared = triton.next_power_of_2(bins.num_bins + 1)
    # one grid axis, since others are limited to 65,535; neighbouring programs read contiguous memory
    with torch.cuda.device(counts.get_device()):  # Triton would use the current device; -1, the CPU, is a no-op
        if neuron_stride < stride or shared > _MOST_SHARED_BINS:
            rows_per_block = _BLOCK // _COLUMNS
            grid = triton.cdiv(neurons, _COLUMNS) * triton.cdiv(total, rows_per_block * _BLOCKS)
            _count_columns[grid,](
                *arguments, rows=rows_per_block, columns=_COLUMNS, blocks=_BLOCKS, enable_fp_fusion=False
            )
        else:
            grid = neurons * triton.cdiv(total, _BLOCK * _BLOCKS)
            _count_rows[grid,](*arguments, cells=shared, block=_BLOCK, blocks=_BLOCKS, enable_fp_fusion=False)


@triton.jit
def _bin_of(x, centre, scale, first, offset, factor, num_bins):
    """Compute the bin by the formula of Bins, in float64."""
    t = tl.floor(((x.to(tl.float64) - centre) / scale + offset) * factor) - first
    t = tl.where(t > 0.0, t, 0.0)  # 0 also where t is NaN, which tl.maximum may keep
    return tl.minimum(t, num_bins - 1.0).to(tl.int32)


@triton.jit
def _offset_of(i, per_image, positions, image_stride, row_stride, stride):
    """Return the offset of the i-th activation of a neuron."""
    remainder = i % per_image
    return (
        (i // per_image).to(tl.int64) * image_stride
        + (remainder // positions).to(tl.int64) * row_stride
        + (remainder % positions).to(tl.int64) * stride
    )


@triton.jit
def _count_rows(
    values, counts, accepted, centre, scale, first, offset, factor,
    num_bins, neurons, total, per_image, positions,
    image_stride, neuron_stride, row_stride, stride,
    cells: tl.constexpr, block: tl.constexpr, blocks: tl.constexpr,
):  # fmt: skip
    """Count a block of activations of one neuron in shared memory, then add the counts."""
    neuron = tl.program_id(0) % neurons
    begin = tl.program_id(0) // neurons * block * blocks
    middle, width, lowest = tl.load(centre + neuron), tl.load(scale + neuron), tl.load(first + neuron)
    histogram = tl.zeros((cells,), tl.int32)
    for k in range(blocks):
        i = begin + k * block + tl.arange(0, block)
        offsets = neuron.to(tl.int64) * neuron_stride + _offset_of(
            i, per_image, positions, image_stride, row_stride, stride
        )
        x = tl.load(values + offsets, mask=i < total, other=0.0)
        number = _bin_of(x, middle, width, lowest, offset, factor, num_bins)
        histogram += tl.histogram(
            tl.where(i < total, number, num_bins), cells
        )  # masked activations go to an extra cell
    cell = tl.arange(0, cells)
    target = counts + neuron.to(tl.int64) * num_bins + cell
    tl.atomic_add(target, histogram.to(tl.int64) * tl.load(accepted), mask=(cell < num_bins) & (histogram > 0))


@triton.jit
def _count_columns(
    values, counts, accepted, centre, scale, first, offset, factor,
    num_bins, neurons, total, per_image, positions,
    image_stride, neuron_stride, row_stride, stride,
    rows: tl.constexpr, columns: tl.constexpr, blocks: tl.constexpr,
):  # fmt: skip
    """Count activations of a block of contiguous neurons, by atomic additions."""
    groups = tl.cdiv(neurons, columns)
    neuron = (tl.program_id(0) % groups * columns + tl.arange(0, columns))[None, :]
    is_neuron = neuron < neurons
    middle = tl.load(centre + neuron, mask=is_neuron, other=0.0)
    width = tl.load(scale + neuron, mask=is_neuron, other=1.0)
    lowest = tl.load(first + neuron, mask=is_neuron, other=0.0)
    increment = tl.load(accepted)
    for k in range(blocks):
        i = ((tl.program_id(0) // groups * blocks + k) * rows + tl.arange(0, rows))[:, None]
        inside = (i < total) & is_neuron
        offsets = neuron.to(tl.int64) * neuron_stride + _offset_of(
            i, per_image, positions, image_stride, row_stride, stride
        )
        x = tl.load(values + offsets, mask=inside, other=0.0)
        number = _bin_of(x, middle, width, lowest, offset, factor, num_bins)
        tl.atomic_add(counts + neuron.to(tl.int64) * num_bins + number, increment, mask=inside)
