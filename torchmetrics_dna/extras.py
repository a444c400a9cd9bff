"""Optional dependencies: one wording for what is missing."""

from __future__ import annotations

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
    """A module of this package, or None where what it imports is not installed."""
    try:
        return import_module(f"torchmetrics_dna.{module}")
    except ImportError:
        return None
