"""What numba compiles to read half precision, which it does not know, from its bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload


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
