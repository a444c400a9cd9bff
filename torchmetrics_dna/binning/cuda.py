"""Count activations on CUDA in one pass, with Triton. Counts are equal to those of :mod:`.histogram`.

Counts are integers, so the order of atomic additions does not matter. There is no device sync.

A Triton program counts tiles of some neurons in shared memory, and adds the histogram to the counts once. If a
histogram is too large for shared memory, the program adds each activation to the counts. A tile consists of some images
and contiguous positions, so that the address of an activation is computed without a division.

The bin of an activation is computed in pairs of float32. Only tiles with an activation that is too close to an edge are
computed in float64. The reason is that graphics cards for desktops and inference divide float64 at a sixty-fourth of
their speed for float32.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"
# Triton parses annotations of kernels, and accepts only its own.

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from torchmetrics_dna.binning.activations import picture_rows

if TYPE_CHECKING:
    from torchmetrics_dna.binning.bins import Bins

# Number of activations of a tile.
_TILE = 4096
# Number of warps of a program.
_WARPS = 8
# Number of programs for a large layer: a few for each multiprocessor of a large GPU.
_PROGRAMS = 512
# Least number of tiles of a program with several neurons. With fewer tiles, adding its many counts would take longest.
_LEAST_TILES = 4
# Before Triton 3.8, `tl.histogram` takes one instruction for every 8 cells.
_BY_VOTES = tuple(map(int, triton.__version__.split(".")[:2])) < (3, 8)
# Largest number of counts of a program in shared memory: 4 or 32 KiB.
_CELLS = 1024 if _BY_VOTES else 8192
# Largest number of contiguous neurons of a program: a cache line of float32.
_COLUMNS = 32
# Least number of contiguous neurons of a program. Fewer would read a cache line too often.
_LEAST_COLUMNS = 4
# Largest number of images of a tile.
_IMAGES = 64
# Largest number of registers of a thread, so that a processor runs two programs.
_REGISTERS = 128


class _Tile(NamedTuple):
    """Shape of a tile.

    Attributes:
        columns: Number of neurons.
        cells: Number of counts of a neuron in shared memory; 0 if the counts are too many for it.
        images: Number of images, or of rows of positions.
        positions: Number of positions.

    """

    columns: int
    cells: int
    images: int
    positions: int


def add_layer_(counts: Tensor, layer: Tensor, bins: Bins) -> None:
    """Add the histograms of one layer to its counts in place, like :func:`.histogram.add_layer_`.

    The counts must be contiguous.
    """
    if not layer.numel():
        return
    rows = picture_rows(layer)
    images, neurons, row_count, positions = rows.shape
    image_stride, neuron_stride, row_stride, position_stride = rows.stride()
    if row_count * positions == 1:
        position_stride = image_stride
    # Images with a common stride, such as tokens or pooled values, are processed as one image.
    if row_count == 1 and image_stride == positions * position_stride:
        positions = images * positions
        images = 1
    are_neurons_contiguous = neuron_stride < position_stride
    tile = _tile_of(images * row_count, neurons, positions, bins.num_bins, are_neurons_contiguous)
    tiles_per_image = triton.cdiv(positions, tile.positions)
    total_tiles = triton.cdiv(images * row_count, tile.images) * tiles_per_image
    groups = triton.cdiv(neurons, tile.columns)
    least_tiles = 1 if tile.columns == 1 else _LEAST_TILES
    tiles_per_program = max(least_tiles, groups * total_tiles // _PROGRAMS)
    # The grid has one axis, because other axes are limited to 65,535. Neighbouring programs read contiguous memory.
    grid = groups * triton.cdiv(total_tiles, tiles_per_program)
    # Triton would use the current device. For tensors on the CPU, the device is -1, and the context does nothing.
    with torch.cuda.device(counts.get_device()):
        _count[grid,](
            rows, counts,
            bins.centre, bins.scale, bins.first, bins.offset, bins.factor, bins.num_bins,
            neurons, images * row_count, row_count, positions, tiles_per_image, total_tiles, tiles_per_program,
            image_stride, neuron_stride, row_stride, position_stride,
            is_grid=bins.offset == 0 and bins.factor == 1, cells=tile.cells, columns=tile.columns,
            tile_images=tile.images, tile_positions=tile.positions,
            num_warps=_WARPS, maxnreg=_REGISTERS, enable_fp_fusion=False,
        )  # fmt: skip


def _tile_of(images: int, neurons: int, positions: int, num_bins: int, are_neurons_contiguous: bool) -> _Tile:
    """Return the shape of a tile; rows of positions are taken as images."""
    columns = min(_COLUMNS, triton.next_power_of_2(neurons)) if are_neurons_contiguous else 1
    # The last cell counts values of a tile that are outside of the layer.
    cells = triton.next_power_of_2(num_bins + 1)
    if cells * min(columns, _LEAST_COLUMNS) <= _CELLS:
        columns = min(columns, _CELLS // cells)
    else:
        cells = 0
    size = _TILE // columns
    tile_images = min(_IMAGES, size, triton.next_power_of_2(images))
    tile_positions = min(size // tile_images, triton.next_power_of_2(positions))
    return _Tile(columns, cells, tile_images, tile_positions)


@triton.jit
def _exact_bin_of(x, centre, scale, first, offset, factor, num_bins):
    """Compute the bin with the formula of Bins, in float64."""
    t = tl.floor(((x.to(tl.float64) - centre) / scale + offset) * factor) - first
    # NaN becomes 0, too. `tl.maximum` may keep NaN.
    t = tl.where(t > 0.0, t, 0.0)
    return tl.minimum(t, num_bins - 1.0).to(tl.int32)


@triton.jit
def _bin_on_grid(x, scale, first, num_bins):
    """Compute the bin on a grid of powers of two in float32; also return True where it may be wrong."""
    usual = (scale > 1e-30) & (scale < 1e30) & (tl.abs(first) + num_bins < 4e6)
    t = tl.floor(x * tl.where(usual, 1.0 / scale, 0.0).to(tl.float32))
    # The product of a negative number may be below the smallest number that can be represented.
    t = tl.where((x < 0.0) & (t > -1.0), -1.0, t)
    return t - first.to(tl.float32), ~usual


@triton.jit
def _bin_within(x, centre, scale, first, offset, factor, num_bins):
    """Compute the bin between bounds in pairs of float32; also return True where it may be wrong.

    ``x * slope + start`` is the bin plus a fraction. Its floor in float32, ``whole``, may differ from the bin by one.
    The difference, ``rest``, is exact except for one rounding error of at most 2**-24, and much smaller errors.
    """
    slope = factor / scale
    start = (offset - centre / scale) * factor - first
    usual = (tl.abs(start) + num_bins < 1e6) & (slope > 1e-30) & (slope < 1e30)
    slope, start = tl.where(usual, slope, 1.0), tl.where(usual, start, 0.0)
    slope_high = slope.to(tl.float32)
    slope_low = (slope - slope_high).to(tl.float32)
    # This part of the start has few digits, so that a bin is subtracted exactly.
    start_high = (tl.floor(start * 16.0) / 16.0).to(tl.float32)
    start_low = (start - start_high).to(tl.float32)
    # Beyond the ends, all values are in the first or the last bin.
    x = tl.maximum(x, ((-2.0 - start) / slope).to(tl.float32))
    x = tl.minimum(x, ((num_bins + 2.0 - start) / slope).to(tl.float32))
    whole = tl.floor(tl.fma(x, slope_high, start_high))
    rest = tl.fma(x, slope_high, start_high - whole) + tl.fma(x, slope_low, start_low)
    closest = tl.floor(rest + 0.5)
    distance = rest - closest
    edge = whole + closest
    near = (tl.abs(distance) < 2.5e-07) & (edge > 0.5) & (edge < num_bins - 0.5)
    return edge - tl.where(distance < 0.0, 1.0, 0.0), near | ~usual


@triton.jit
def _bin_of(x, centre, scale, first, offset, factor, num_bins, is_grid: tl.constexpr):
    """Compute the bin of each activation."""
    if x.dtype == tl.float64:
        number = _exact_bin_of(x, centre, scale, first, offset, factor, num_bins)
    else:
        if is_grid:
            float_number, may_be_wrong = _bin_on_grid(x.to(tl.float32), scale, first, num_bins)
        else:
            float_number, may_be_wrong = _bin_within(x.to(tl.float32), centre, scale, first, offset, factor, num_bins)
        number = tl.minimum(tl.where(float_number > 0.0, float_number, 0.0), num_bins - 1.0).to(tl.int32)
        if tl.sum(may_be_wrong.to(tl.int32)) > 0:
            number = _exact_bin_of(x, centre, scale, first, offset, factor, num_bins)
    return number


@triton.jit
def _add_histogram(counts, histogram, first_neuron, neurons, num_bins, cells: tl.constexpr, columns: tl.constexpr):
    """Add the histograms of some neurons, with a row of cells per neuron, to the counts."""
    cell = tl.arange(0, columns * cells)
    neuron = first_neuron + cell // cells
    number = cell % cells
    target = counts + neuron.to(tl.int64) * num_bins + number
    is_counted = (number < num_bins) & (neuron < neurons) & (histogram > 0)
    tl.atomic_add(target, histogram.to(tl.int64), mask=is_counted)


@triton.jit(do_not_specialize=("images", "total_tiles", "tiles_per_program"))
def _count(
    values, counts, centre, scale, first, offset, factor, num_bins,
    neurons, images, row_count, positions, tiles_per_image, total_tiles, tiles_per_program,
    image_stride, neuron_stride, row_stride, position_stride,
    is_grid: tl.constexpr, cells: tl.constexpr, columns: tl.constexpr,
    tile_images: tl.constexpr, tile_positions: tl.constexpr,
):  # fmt: skip
    """Count some tiles of some neurons.

    Count them in shared memory, and add the histogram to the counts at the end. If ``cells`` is 0, add each activation
    to the counts at once. The arguments are computed by :func:`add_layer_`, in which they have the same names. Rows of
    positions are taken as images.
    """
    groups = tl.cdiv(neurons, columns)
    first_neuron = tl.program_id(0) % groups * columns
    column = tl.arange(0, columns)[None, :]
    neuron = first_neuron + column
    is_neuron = neuron < neurons
    middle = tl.load(centre + neuron, mask=is_neuron, other=0.0)
    width = tl.load(scale + neuron, mask=is_neuron, other=1.0)
    lowest = tl.load(first + neuron, mask=is_neuron, other=0.0)
    index_in_tile = tl.arange(0, tile_images * tile_positions)
    first_tile = tl.program_id(0) // groups * tiles_per_program
    tile_of_image = first_tile % tiles_per_image
    first_image = first_tile // tiles_per_image * tile_images
    of_neuron = values + neuron.to(tl.int64) * neuron_stride
    if cells > 0:
        histogram = tl.zeros((columns * cells,), tl.int32)
    for _ in range(tl.minimum(tiles_per_program, total_tiles - first_tile)):
        image = first_image + index_in_tile // tile_positions
        position = tile_of_image * tile_positions + index_in_tile % tile_positions
        inside = ((image < images) & (position < positions))[:, None] & is_neuron
        offsets = (
            (image // row_count).to(tl.int64) * image_stride
            + (image % row_count).to(tl.int64) * row_stride
            + position.to(tl.int64) * position_stride
        )
        x = tl.load(of_neuron + offsets[:, None], mask=inside, other=0.0)
        number = _bin_of(x, middle, width, lowest, offset, factor, num_bins, is_grid)
        if cells > 0:
            cell = column * cells + tl.where(inside, number, num_bins)
            cell = tl.reshape(cell, (tile_images * tile_positions * columns,))
            histogram += tl.histogram(cell, columns * cells)
        else:
            tl.atomic_add(counts + neuron.to(tl.int64) * num_bins + number, tl.full((), 1, tl.int64), mask=inside)
        tile_of_image += 1
        at_end = tile_of_image == tiles_per_image
        first_image += tl.where(at_end, tile_images, 0)
        tile_of_image = tl.where(at_end, 0, tile_of_image)
    if cells > 0:
        _add_histogram(counts, histogram, first_neuron, neurons, num_bins, cells, columns)
