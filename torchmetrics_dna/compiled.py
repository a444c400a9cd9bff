"""Compile functions with numba, and decide when the compilation is worth its time."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit


def compiled(function: Any, **options: Any) -> Any:
    """Return a function that numba compiles at the first call, or loads from its cache.

    Args:
        function: The function in Python.
        options: Options of ``numba.njit``.

    """
    options = {"nogil": True, "error_model": "numpy", **options}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:
        # There is no folder to which numba can write its cache.
        return njit(**options)(function)


def has_machine_code(function: Any) -> bool:
    """Return True if a function need not be compiled, because its machine code is in this process or in the cache."""
    # With NUMBA_DISABLE_JIT, numba compiles nothing, and returns functions without signatures.
    is_python = not hasattr(function, "signatures")
    return is_python or bool(function.signatures) or _is_cached(function)


@cache
def _is_cached(function: Any) -> bool:
    """Return True if numba's cache has machine code of a function."""
    folder = function.stats.cache_path
    # Without a folder, numba has no cache.
    if folder is None:
        return False
    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    # The name of an index of numba's cache has the module, the function, its line and the version of Python.
    index = f"*.{function.__name__}-*.{python}*.nbi"
    return any(Path(folder).glob(index))


class Postponed:
    """Decide when to use a compiled function that torch can replace with equal results.

    Compiling takes seconds, which is longer than torch needs for a small set. So torch does the first work of a
    process. If an earlier process has left machine code in numba's cache, the compiled function is used at once.

    Args:
        function: The compiled function.
        work_without: Amount of work that torch does before the function is compiled.

    """

    def __init__(self, function: Any, work_without: int) -> None:
        self._function = function
        self._work_without = work_without

    def is_due(self, work: int) -> bool:
        """Return True if the compiled function must do this amount of work, and False if torch must do it."""
        if self._work_without > 0 and has_machine_code(self._function):
            self._work_without = 0
        if self._work_without <= 0:
            return True
        self._work_without -= work
        return False
