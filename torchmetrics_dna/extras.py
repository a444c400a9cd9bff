"""Optional dependencies."""

from __future__ import annotations

import os
import sys
from functools import cache
from importlib import import_module
from threading import RLock
from typing import Any

from torchmetrics_dna.warning import warn


def require(module: str, extra: str) -> Any:
    """Import a module of an optional dependency; ModuleNotFoundError with the packages to install."""
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
    """Import a module of this package that numba compiles; None if numba is missing or fails."""
    return None if _given_up else _imported(module)


def loaded(module: str) -> Any:
    """Like :func:`optional`, if numba is loaded in this process: a worker process does not load it for a few images."""
    return optional(module) if "torchmetrics_dna.compiled" in sys.modules else None


def _give_up(err: Exception) -> None:
    """Disable numba for the rest of this process, and warn once."""
    if _given_up:
        return
    _given_up.add("numba")
    fault = f"{type(err).__name__}: {' '.join(str(err).split())[:250]}"
    warn(
        f"numba is installed but fails ({fault}), so counting is many times slower;"
        " mend it, such as by `pip install --upgrade numba`, or remove it"
    )


@cache
def _imported(module: str) -> Any:
    try:
        with _IMPORTING:
            return import_module(f"torchmetrics_dna.{module}")
    except Exception as err:
        is_missing = isinstance(err, ModuleNotFoundError) and err.name == "numba"
        if not is_missing:
            _give_up(err)
        return None


_IMPORTING = RLock()
if hasattr(os, "register_at_fork"):  # a fork waits for imports: their locks would be held in the new process for good
    os.register_at_fork(
        before=_IMPORTING.acquire, after_in_parent=_IMPORTING.release, after_in_child=_IMPORTING.release
    )
# Libraries that failed in this process.
_given_up: set[str] = set()
