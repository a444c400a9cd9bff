"""Compile functions by numba, with an on-disk cache."""

from __future__ import annotations

from typing import Any

from numba import njit


def compiled(function: Any, **options: Any) -> Any:
    """Compile a function on its first call, and cache the code on disk if writable."""
    options = {"nogil": True, "error_model": "numpy", **options}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no writable cache folder
        return njit(**options)(function)


def compiled_in_any_order(function: Any) -> Any:
    """Compile a function whose sums may be reassociated, for SIMD.

    The order depends only on the number of terms, so results are deterministic. The function is always inlined: else
    there would be two versions with different orders, compiled alone and with the caller, and which one runs would
    depend on whether the code was compiled in this process or loaded from the cache.
    """
    return compiled(function, fastmath={"reassoc", "nsz"}, forceinline=True)


def compiled_with_fused_terms(function: Any) -> Any:
    """Compile a function in which multiply-adds may be fused."""
    return compiled(function, fastmath={"contract"}, forceinline=True)
