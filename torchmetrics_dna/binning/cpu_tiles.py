"""Prepare activations in any memory layout for compiled code, and split them into tasks.

A tile is a block of neurons by positions of one image. It is read once, along the contiguous axis, and its bin numbers
are written consecutively; the counts of its neurons stay in the L1 cache.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided

from torchmetrics_dna.binning.layouts import picture_rows, placed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from torchmetrics_dna.binning.bins import Bins
    from torchmetrics_dna.binning.layouts import Parts

_TILE = 16384  # bin numbers: with the activations, a fraction of the L2 cache
_WIDEST = 64  # neurons of a tile: whole cache lines that follow each other, and counts in the L2 cache
_NARROWEST = 4
_RUN = 256  # activations of a loop, to amortize its overhead
_TASK = 1 << 16  # minimum activations of a task
_MOST_BINS = 1 << 24  # so that bin numbers of a tile fit 32 bits
_VIEWS = {
    torch.float32: (torch.float32, np.float32),
    torch.float64: (torch.float64, np.float64),
    torch.float16: (torch.int16, np.int16),  # numba has no half precision; their bits are decoded
    torch.bfloat16: (torch.int16, np.uint16),
}


class Layout(NamedTuple):  # keep the name: numba's on-disk cache depends on it
    """Memory layout of a layer, in elements, and its tiling."""

    origins: NDArray[np.int64]  # offset of each image
    neuron_stride: int
    row_stride: int
    stride: int
    images: int
    rows: int
    positions: int  # of a row
    along_neurons: bool  # neurons are contiguous
    width: int  # neurons of a tile
    length: int  # positions of a tile
    run: int  # positions per loop over several neurons; 1 if loops are over one neuron


class Work(NamedTuple):
    """Task of one call: neurons ``begin`` to ``end`` of a layer, whose first neuron is ``first`` among all.

    The images are those of the layout, ``first_image`` of the batch and the ones that follow.
    """

    layer: str
    pieces: list[Tensor]  # tensors of the layer, to keep the memory alive
    memory: NDArray[Any]
    layout: Layout
    begin: int
    end: int
    first: int
    first_image: int = 0


def covers(parts: Parts, num_bins: int = 1) -> bool:
    """True if compiled code supports these activations: on the CPU, of a supported dtype."""
    return num_bins <= _MOST_BINS and all(
        layer.device.type == "cpu" and layer.dtype in _VIEWS for _, layer in placed(parts)
    )


def as_arrays(bins: Bins) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float, float, int]:
    """Convert bins to the arguments of compiled code."""
    ends = (tensor.contiguous().numpy() for tensor in (bins.centre, bins.scale, bins.first))
    return (*ends, float(bins.offset), float(bins.factor), bins.num_bins)  # type: ignore[return-value]


def share_out(parts: Parts, beside: int = 0, by_image: bool = False) -> Iterator[Work]:
    """Split the work into tasks that balance the load of torch's threads, by neurons.

    The cost of an image for a neuron is its number of activations plus ``beside``. If results are ``by_image``, layers
    whose neurons are contiguous are split by images, so that memory is read in order.
    """
    total = sum(layer.numel() + beside * prod(layer.shape[:2]) for _, layer in placed(parts))
    task = max(_TASK, total // (8 * torch.get_num_threads()))
    for name, (columns, _) in zip(parts[0], placed(parts[:1]), strict=True):
        pieces = _in_rows([part[name].detach() for part in parts if part[name].numel()])
        if not pieces:
            continue
        neurons, images = columns.stop - columns.start, sum(map(len, pieces))
        cost = images * (pieces[0][0, 0].numel() + beside)
        memory, layout = _read(pieces, total // torch.get_num_threads() // cost)
        if by_image and layout.along_neurons and layout.neuron_stride == 1:
            step = -(-task * images // (cost * neurons))
            for image in range(0, images, step):
                origins = layout.origins[image : image + step]
                of_images = layout._replace(origins=origins, images=len(origins))
                yield Work(name, pieces, memory, of_images, 0, neurons, columns.start, image)
            continue
        step = -(-task // cost // layout.width) * layout.width
        for begin in range(0, neurons, step):
            yield Work(name, pieces, memory, layout, begin, min(begin + step, neurons), columns.start)


def _in_rows(pieces: list[Tensor]) -> list[Tensor]:
    """Return pieces as ``(b, n, rows, positions)`` of one layout: views, or a copy if layouts differ."""
    rows = [picture_rows(piece) for piece in pieces]
    layouts = {(piece.dtype, piece.shape[1:], piece.stride()[1:], piece.data_ptr() % piece.itemsize) for piece in rows}
    return [picture_rows(torch.cat(pieces))] if len(layouts) > 1 else rows


def _read(pieces: list[Tensor], most: int) -> tuple[NDArray[Any], Layout]:
    """Return a view of the memory that a layer spans, and its layout.

    The layer is a sequence of pieces ``(b, n, rows, positions)``; tiles have up to ``most`` neurons.
    """
    lowest = min(pieces, key=lambda piece: piece.data_ptr())
    origins = np.concatenate(
        [
            (piece.data_ptr() - lowest.data_ptr()) // piece.itemsize + np.arange(len(piece)) * piece.stride(0)
            for piece in pieces
        ]
    )
    images, (neurons, row_count, positions) = len(origins), lowest.shape[1:]
    neuron_stride, row_stride, stride = lowest.stride()[1:]
    size = origins.max() + (neurons - 1) * neuron_stride + (row_count - 1) * row_stride + (positions - 1) * stride + 1
    bits, dtype = _VIEWS[lowest.dtype]
    first = lowest.as_strided((1,), (1,)).view(bits).numpy().view(dtype)
    along_neurons = neurons > 1 and (positions == 1 or neuron_stride < stride)
    short = positions < _RUN
    width = _WIDEST if along_neurons else 2 * _RUN // positions if short else 0
    # a large layer of few neurons is split among threads, too
    width = min(neurons, max(_NARROWEST, min(width, _WIDEST, most)))
    run = _RUN // width if along_neurons else positions if short else 1
    return as_strided(first, (size,)), Layout(
        origins, neuron_stride, row_stride, stride,
        images, row_count, positions, along_neurons, width, min(_TILE // width, positions), run,
    )  # fmt: skip
