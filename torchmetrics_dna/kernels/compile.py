"""How functions are compiled by numba, and kept on disk."""

from __future__ import annotations

from typing import Any

from numba import njit


def compiled(function: Any, **options: Any) -> Any:
    """The function, compiled when it is first called, and kept on disk where there is a place for that."""
    options = {"nogil": True, "error_model": "numpy", **options}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # nothing can be written, neither beside this file nor for this user
        return njit(**options)(function)


def compiled_in_any_order(function: Any) -> Any:
    """Likewise; terms may be added in any order, so that several are at once.

    The order depends on nothing but how many there are, so results do not change from call to call. What calls the
    function takes it in, or there were two of it, one compiled by itself and one together with what calls it, with
    orders of their own; which one runs would depend on whether code is compiled in this process or comes from the disk.
    """
    return compiled(function, fastmath={"reassoc", "nsz"}, forceinline=True)


def compiled_with_fused_terms(function: Any) -> Any:
    """Likewise, where a product and a sum may be rounded once."""
    return compiled(function, fastmath={"contract"}, forceinline=True)
