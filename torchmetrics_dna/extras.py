"""Optional dependencies: one wording for what is missing."""

from __future__ import annotations

import warnings
from functools import cache
from importlib import import_module
from typing import Any


def require(module: str, extra: str) -> Any:
    """Import a module of an optional dependency.

    Raises:
        ModuleNotFoundError: Saying which extra to install.

    """
    try:
        return import_module(module)
    except ModuleNotFoundError as err:
        raise ModuleNotFoundError(
            f"This needs {module.split('.')[0]}, which is not installed; run `pip install 'torchmetrics-dna[{extra}]'`",
            name=err.name,
        ) from err


@cache
def optional(module: str) -> Any:
    """A module of this package, or None where what it imports is not installed, or, with a warning, broken."""
    library = {"cpu": "numba", "cuda": "triton"}[module.rpartition(".")[2]]
    try:
        return import_module(f"torchmetrics_dna.{module}")
    except Exception as err:
        missing = isinstance(err, ModuleNotFoundError) and err.name == library
        if not missing and library not in _warned:
            _warned.add(library)
            warnings.warn(
                f"{library} is installed but can't be imported ({type(err).__name__}: {err}), so counting is many times"
                f" slower; mend it, such as by `pip install --upgrade {library}`, or remove it",
                stacklevel=2,
            )
        return None


_warned: set[str] = set()  # once for all modules that stand on it
