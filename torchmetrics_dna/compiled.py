"""Functions that numba compiles, and when compiling them is worth its time."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit


def compiled(function: Any, **options: Any) -> Any:
    """Compile a function when it is called first, or load it from numba's cache."""
    options = {"nogil": True, "error_model": "numpy", **options}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no folder to cache code in
        return njit(**options)(function)


def has_machine_code(function: Any) -> bool:
    """Return whether a function need not be compiled: this process or numba's cache has machine code of it.

    With NUMBA_DISABLE_JIT, numba leaves functions as they are, and compiles nothing.
    """
    is_plain = not hasattr(function, "signatures")
    return is_plain or bool(function.signatures) or _is_cached(function)


@cache
def _is_cached(function: Any) -> bool:
    folder = function.stats.cache_path
    if folder is None:  # no folder to cache code in
        return False
    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    # numba names an index after the module, the function, its line and the version of Python
    index = f"*.{function.__name__}-*.{python}*.nbi"
    return any(Path(folder).glob(index))


class Postponed:
    """Decide when a function is compiled that plain torch can replace with equal results.

    Compiling takes seconds, which the images of a small set never make up for. So torch does the first work of a
    process, unless an earlier process left machine code in numba's cache, which loads in a moment.
    """

    def __init__(self, function: Any, work_without: int) -> None:
        self._function = function
        self._work_without = work_without

    def is_due(self, work: int) -> bool:
        """Return whether to call the function; if not, ``work`` is subtracted from what torch does first."""
        if self._work_without > 0 and has_machine_code(self._function):
            self._work_without = 0
        if self._work_without <= 0:
            return True
        self._work_without -= work
        return False
