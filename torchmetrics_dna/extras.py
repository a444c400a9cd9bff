"""Optional dependencies, one wording for what is missing; and what loads when it is first used."""

from __future__ import annotations

import sys
import warnings
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


def lazily(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package whose public names load when they are first used.

    Args:
        package: Its name.
        homes: The module of this package that each public name is in.

    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"torchmetrics_dna.{homes[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return load


def require(module: str, extra: str) -> Any:
    """Import a module of an optional dependency.

    Raises:
        ModuleNotFoundError: Saying what to install.

    """
    try:
        return import_module(module)
    except ModuleNotFoundError as err:
        raise ModuleNotFoundError(
            f"This needs {module.split('.')[0]}, which is not installed; run `pip install {_packages(extra)}`, which is"
            f" the extra {extra!r} of torchmetrics-dna",
            name=err.name,
        ) from err


def _packages(extra: str) -> str:
    """The packages of an extra, as a shell takes them: wherever this package is from, an index has these."""
    from importlib.metadata import requires

    wanted = [line.split(";") for line in requires("torchmetrics-dna") or ()]
    return " ".join(f"'{package.strip()}'" for package, *marker in wanted if f"extra == '{extra}'" in "".join(marker))


@contextmanager
def plainly(plain: bool) -> Iterator[None]:
    """Do without compiled functions of the CPU for a while, if so told: little work is over before they are loaded."""
    token = _plain.set(plain)
    try:
        yield
    finally:
        _plain.reset(token)


def optional(module: str) -> Any:
    """A module of this package, or None where what it imports is not installed, or, with a warning, broken."""
    return None if _plain.get() and module.endswith(".cpu") else _found(module)


@cache
def _found(module: str) -> Any:
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


_plain = ContextVar("plain", default=False)
_warned: set[str] = set()  # once for all modules that stand on it
