"""Activations in any memory layout as what compiled code takes, and shared out among threads.

A tile is what stays in the first-level cache: some neurons by some positions of one image. It is read once, along
whichever axis lies together in memory, and its bin numbers are written one after another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from torchmetrics_dna.binning.layouts import picture_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from torchmetrics_dna.binning.bins import Bins

_TILE = 4096  # bin numbers: with the activations, half of a first-level cache
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


class Layout(NamedTuple):  # compiled code kept on disk names it, and could not be read if it had another name
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
    run: int  # positions that one loop over several neurons goes through; 1 if loops are over one neuron


class Work(NamedTuple):
    """Neurons of a layer that one call counts: ``begin`` to ``end`` of it, and its first among all."""

    layer: str
    memory: NDArray[Any]
    layout: Layout
    begin: int
    end: int
    first: int


def covers(activations: Mapping[str, Tensor], num_bins: int = 1) -> bool:
    """Whether tiles can be made of these: in this machine's memory, of a floating type that has a reading."""
    return num_bins <= _MOST_BINS and all(
        layer.device.type == "cpu" and layer.dtype in _VIEWS for layer in activations.values()
    )


def as_arrays(bins: Bins) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float, float, int]:
    """Bins as compiled code takes them."""
    ends = (tensor.contiguous().numpy() for tensor in (bins.centre, bins.scale, bins.first))
    return (*ends, float(bins.offset), float(bins.factor), bins.num_bins)  # type: ignore[return-value]


def share_out(activations: Mapping[str, Tensor]) -> Iterator[Work]:
    """All neurons, in pieces that keep torch's threads busy until the end."""
    total = sum(layer.numel() for layer in activations.values())
    task = max(_TASK, total // (8 * torch.get_num_threads()))
    first = 0
    for name, layer in activations.items():
        neurons = layer.shape[1]
        if layer.numel():
            memory, layout = _read(layer, total // torch.get_num_threads())
            step = -(-task // (layer.numel() // neurons) // layout.width) * layout.width
            for begin in range(0, neurons, step):
                yield Work(name, memory, layout, begin, min(begin + step, neurons), first)
        first += neurons


def _read(layer: Tensor, most: int) -> tuple[NDArray[Any], Layout]:
    """A layer's whole storage as numbers, and where in it the layer lies, in tiles of ``most`` activations in all."""
    rows = picture_rows(layer.detach())
    images, neurons, row_count, positions = rows.shape
    image_stride, neuron_stride, row_stride, stride = rows.stride()
    along_neurons = neurons > 1 and (positions == 1 or neuron_stride < stride)
    short = positions < _RUN
    width = _WIDEST if along_neurons else 2 * _RUN // positions if short else 0
    # no thread is left with all of a large layer of few neurons
    width = min(neurons, max(_NARROWEST, min(width, _WIDEST, most * neurons // layer.numel())))
    run = _RUN // width if along_neurons else positions if short else 1
    layout = Layout(
        int(rows.storage_offset()), image_stride, neuron_stride, row_stride, stride,
        images, row_count, positions, along_neurons, width, min(_TILE // width, positions), run,
    )  # fmt: skip
    bits, dtype = _VIEWS[layer.dtype]
    everything = rows.as_strided((rows.untyped_storage().nbytes() // rows.itemsize,), (1,), 0)
    return everything.view(bits).numpy().view(dtype), layout
