"""How functions are compiled by numba, and kept on disk."""

from __future__ import annotations

from typing import Any

from numba import njit


def compiled(function: Any, **options: Any) -> Any:
    """Compile a function when it is first called, and keep the code on disk where that can be written to."""
    options = {"nogil": True, "error_model": "numpy", **options}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # nothing can be written, neither beside this file nor for this user
        return njit(**options)(function)


def compiled_in_any_order(function: Any) -> Any:
    """Likewise; terms may be added in any order, so that several are at once.

    The order depends only on how many terms there are, so results do not change from call to call. The function is
    always inlined: else there would be two versions, one compiled alone and one with its caller, whose orders differ,
    and which of them runs would depend on whether code was compiled in this process or comes from the disk.
    """
    return compiled(function, fastmath={"reassoc", "nsz"}, forceinline=True)


def compiled_with_fused_terms(function: Any) -> Any:
    """Likewise, where a product and a sum may be rounded once."""
    return compiled(function, fastmath={"contract"}, forceinline=True)
