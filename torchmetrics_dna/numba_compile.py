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

    The order depends on nothing but how many there are, so results do not change from call to call.
    """
    return compiled(function, fastmath={"reassoc", "nsz"})


def compiled_with_fused_terms(function: Any) -> Any:
    """Likewise; a product and a sum may be rounded once."""
    return compiled(function, fastmath={"contract"})
