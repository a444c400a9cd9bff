"""What numba compiles to read values: those of half precision, which it does not know, and a tile of any."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from torchmetrics_dna.numba_compile import compiled


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
