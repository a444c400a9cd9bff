"""Import optional dependencies."""

from __future__ import annotations

import os
import sys
from functools import cache
from importlib import import_module
from threading import RLock
from typing import Any

from torchmetrics_dna.warning import warn


def require(module: str, extra: str) -> Any:
    """Import a module of an optional dependency.

    Args:
        module: Name of the module.
        extra: Name of the extra of this package that installs the dependency.

    Raises:
        ModuleNotFoundError: If the module is not installed, with the command that installs it.

    """
    try:
        return import_module(module)
    except ModuleNotFoundError as err:
        needed = module.split(".")[0]
        # The module may be installed, but without another module that it imports.
        missing = (err.name or module).split(".")[0]
        through = "" if missing == needed else f" {missing} for"
        raise ModuleNotFoundError(
            f"This needs{through} {needed}, which is not installed; run `pip install {_packages_of(extra)}`, which is"
            f" the extra {extra!r} of torchmetrics-dna",
            name=err.name,
        ) from err


def _packages_of(extra: str) -> str:
    """Return the packages of an extra, as arguments of pip.

    They can be installed from a package index even if this package is not on the index.
    """
    from importlib.metadata import requires

    packages = []
    for requirement in requires("torchmetrics-dna") or ():
        package, _, marker = requirement.partition(";")
        if f"extra == '{extra}'" in marker:
            packages.append(f"'{package.strip()}'")
    return " ".join(packages)


def optional(module: str) -> Any:
    """Import a module of this package that needs numba; return None if numba is missing or fails."""
    return None if _given_up else _imported(module)


def loaded(module: str) -> Any:
    """Import a module like :func:`optional`, but only if this process has already loaded numba; else return None.

    So a worker process does not load numba for a few images.
    """
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
    """Import a module of this package that needs numba; return None if numba is missing or fails."""
    try:
        with _IMPORTING:
            return import_module(f"torchmetrics_dna.{module}")
    except Exception as err:
        is_missing = isinstance(err, ModuleNotFoundError) and err.name == "numba"
        if not is_missing:
            _give_up(err)
        return None


_IMPORTING = RLock()
# A fork waits until imports have finished. Otherwise the new process would inherit their locks, and never release them.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_IMPORTING.acquire, after_in_parent=_IMPORTING.release, after_in_child=_IMPORTING.release
    )
# Libraries that failed in this process.
_given_up: set[str] = set()
