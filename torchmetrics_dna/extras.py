"""Optional dependencies."""

from __future__ import annotations

import os
import sys
from functools import cache
from importlib import import_module
from threading import RLock
from typing import Any

from torchmetrics_dna.options import warn

TRITON = "TORCHMETRICS_DNA_TRITON"  # an environment variable; 0: torch counts on CUDA


def require(module: str, extra: str) -> Any:
    """Import a module of an optional dependency.

    Raises:
        ModuleNotFoundError: With the packages to install.

    """
    try:
        return import_module(module)
    except ModuleNotFoundError as err:
        from importlib.metadata import requires

        needed, missing = (name.split(".")[0] for name in (module, err.name or module))
        through = "" if missing == needed else f" {missing} for"
        requirements = [line.split(";") for line in requires("torchmetrics-dna") or ()]
        # the packages of the extra, which are on an index even if this package is not
        packages = " ".join(
            f"'{package.strip()}'" for package, *marker in requirements if f"extra == '{extra}'" in "".join(marker)
        )
        raise ModuleNotFoundError(
            f"This needs{through} {needed}, which is not installed; run `pip install {packages}`, which is the"
            f" extra {extra!r} of torchmetrics-dna",
            name=err.name,
        ) from err


def optional(module: str) -> Any:
    """Import a compiled module of this package; None if its library is missing or fails."""
    library = {"cpu": "numba", "cuda": "triton"}[module.rpartition(".")[2]]
    return None if library in _given_up else _imported(module, library)


def loaded(module: str) -> Any:
    """Like :func:`optional`, if numba is loaded in this process: a worker process does not load it for a few images."""
    return optional(module) if "torchmetrics_dna.compiled" in sys.modules else None


def give_up(library: str, err: Exception) -> None:
    """Disable a library that is missing or fails for the rest of this process, and warn once."""
    if library in _given_up:
        return
    _given_up.add(library)
    if _is_missing(err, library):
        fault, remedy = "is not installed", f"run `pip install {library}`"
    else:
        fault = f"is installed but fails ({type(err).__name__}: {' '.join(str(err).split())[:250]})"
        instead = "remove it" if library == "numba" else f"set {TRITON}=0 in the environment"
        remedy = f"mend it, such as by `pip install --upgrade {library}`, or {instead}"
    warn(f"{library} {fault}, so counting is many times slower; {remedy}")


@cache
def _imported(module: str, library: str) -> Any:
    if library == "triton" and os.environ.get(TRITON) == "0":
        return None
    try:
        with _IMPORTING:
            return import_module(f"torchmetrics_dna.{module}")
    except Exception as err:
        if library == "triton" or not _is_missing(err, library):  # Triton comes with torch for CUDA
            give_up(library, err)
        return None


def _is_missing(err: Exception, library: str) -> bool:
    return isinstance(err, ModuleNotFoundError) and err.name == library


_IMPORTING = RLock()
if hasattr(os, "register_at_fork"):  # a fork waits for imports: their locks would be held in the new process for good
    os.register_at_fork(
        before=_IMPORTING.acquire, after_in_parent=_IMPORTING.release, after_in_child=_IMPORTING.release
    )
_given_up: set[str] = set()
