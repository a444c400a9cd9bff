"""Prepare activations in any memory layout for compiled code, and share them out among threads.

A tile is some neurons by some positions of one image. It is read once, along whichever axis lies together in memory,
and its bin numbers are written one after another; the cells of its neurons stay in the first-level cache.
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

_TILE = 16384  # bin numbers: with the activations, a fraction of a second-level cache, in long runs through memory
_WIDEST = 32  # neurons of a tile, whose cells lie in few enough pages of memory to be found at once
_NARROWEST = 4
_RUN = 256  # activations of a loop that are enough to hide its start
_TASK = 1 << 16  # activations that are worth a task of their own
_MOST_BINS = 1 << 24  # so that bin numbers of a tile's neurons fit 32 bits
_VIEWS = {
    torch.float32: (torch.float32, np.float32),
    torch.float64: (torch.float64, np.float64),
    torch.float16: (torch.int16, np.int16),  # numba knows no half precision, so their bits are read
    torch.bfloat16: (torch.int16, np.uint16),
}


class Layout(NamedTuple):  # keep its name, or compiled code on disk can't be read
    """How one layer lies in memory, in elements, and how it is cut into tiles."""

    origins: NDArray[np.int64]  # where each image begins
    neuron_stride: int
    row_stride: int
    stride: int
    images: int
    rows: int
    positions: int  # of a row
    along_neurons: bool  # neurons lie together
    width: int  # neurons of a tile
    length: int  # positions of a tile
    run: int  # positions that one loop over several neurons goes through; 1 if loops are over one neuron


class Work(NamedTuple):
    """Neurons of a layer that one call counts: ``begin`` to ``end`` of it, and its first among all."""

    layer: str
    pieces: list[Tensor]  # of the layer, which keep its memory alive
    memory: NDArray[Any]
    layout: Layout
    begin: int
    end: int
    first: int


def covers(parts: Parts, num_bins: int = 1) -> bool:
    """Whether tiles can be made of these: on the CPU, and of a floating type that compiled code reads."""
    return num_bins <= _MOST_BINS and all(
        layer.device.type == "cpu" and layer.dtype in _VIEWS for _, layer in placed(parts)
    )


def as_arrays(bins: Bins) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float, float, int]:
    """Bins as compiled code takes them."""
    ends = (tensor.contiguous().numpy() for tensor in (bins.centre, bins.scale, bins.first))
    return (*ends, float(bins.offset), float(bins.factor), bins.num_bins)  # type: ignore[return-value]


def share_out(parts: Parts, beside: int = 0) -> Iterator[Work]:
    """All neurons, in tasks that keep torch's threads busy until the end.

    What an image costs for a neuron is its activations, and ``beside`` as many as that.
    """
    total = sum(layer.numel() + beside * prod(layer.shape[:2]) for _, layer in placed(parts))
    task = max(_TASK, total // (8 * torch.get_num_threads()))
    for name, (here, _) in zip(parts[0], placed(parts[:1]), strict=True):
        pieces = _in_rows([part[name].detach() for part in parts if part[name].numel()])
        if pieces:
            neurons = here.stop - here.start
            cost = sum(len(piece) * (piece[0, 0].numel() + beside) for piece in pieces)
            memory, layout = _read(pieces, total // torch.get_num_threads() // cost)
            step = -(-task // cost // layout.width) * layout.width
            for begin in range(0, neurons, step):
                yield Work(name, pieces, memory, layout, begin, min(begin + step, neurons), here.start)


def _in_rows(pieces: list[Tensor]) -> list[Tensor]:
    """Pieces as ``(b, n, rows, positions)``, all of one layout; views, unless theirs differ."""
    rows = [picture_rows(piece) for piece in pieces]
    layouts = {(some.dtype, some.shape[1:], some.stride()[1:], some.data_ptr() % some.itemsize) for some in rows}
    return [picture_rows(torch.cat(pieces))] if len(layouts) > 1 else rows


def _read(pieces: list[Tensor], most: int) -> tuple[NDArray[Any], Layout]:
    """All memory from the first number of a layer to the last, and where in it the layer lies.

    Its images are those of some pieces ``(b, n, rows, positions)`` after others; tiles have up to ``most`` neurons.
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
    # no thread is left with all of a large layer of few neurons
    width = min(neurons, max(_NARROWEST, min(width, _WIDEST, most)))
    run = _RUN // width if along_neurons else positions if short else 1
    return as_strided(first, (size,)), Layout(
        origins, neuron_stride, row_stride, stride,
        images, row_count, positions, along_neurons, width, min(_TILE // width, positions), run,
    )  # fmt: skip
