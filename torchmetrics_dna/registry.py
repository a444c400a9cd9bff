"""Registries of presets, distances and file formats by name, to which other packages can add entries.

A package whose ``pyproject.toml`` has an entry point of the group ``torchmetrics_dna`` is loaded before any command::

    [project.entry-points.torchmetrics_dna]
    mine = "my_package.visual_dna"

In Python, import the module that adds the entries. A module with entries must not import torch, so that ``--help`` is
fast. So an entry refers to its functions by :class:`Lazy`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Protocol, TypeVar

_GROUP = "torchmetrics_dna"


class _Record(Protocol):
    """Entry of a registry."""

    @property
    def name(self) -> str: ...


_R = TypeVar("_R", bound=_Record)


class Registry(dict[str, _R]):
    """Entries by name, in the order in which lists and tables show them.

    Args:
        what: Noun for an entry in errors.
        records: The first entries.
        names: Function that returns all names of an entry; by default, an entry has a single name. Two entries can't
            share a name.
        spelling: Function that normalizes the spelling of a name, so that all accepted spellings become equal.

    Example:
        >>> from torchmetrics_dna.dna.distances import DISTANCES
        >>> DISTANCES["dna-fd"].name, DISTANCES.find("DNAFrechet").name, DISTANCES.find("distance")
        ('dna-fd', 'dna-fd', None)

    """

    def __init__(
        self,
        what: str,
        records: Iterable[_R],
        names: Callable[[_R], Iterable[str]] = lambda record: (record.name,),
        spelling: Callable[[str], str] = str,
    ) -> None:
        super().__init__()
        self._what = what
        self._names = names
        self._spelling = spelling
        for record in records:
            self.register(record)

    def register(self, record: _R) -> None:
        """Add an entry.

        Raises:
            ValueError: If another entry has one of its names.

        """
        for name in self._names(record):
            if self.find(name) is not None:
                raise ValueError(f"The {self._what} {name!r} is there already")
        self[record.name] = record

    def find(self, name: str) -> _R | None:
        """Return the entry with a name, in any spelling; None if there is no such entry."""
        spelling = self._spelling(name)
        for record in self.values():
            if spelling in map(self._spelling, self._names(record)):
                return record
        return None


@dataclass(frozen=True)
class Lazy:
    """Function that is imported when it is called.

    Attributes:
        path: Module and name of the function, such as ``"my_package.sets:open_raw"``.

    """

    path: str

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Call the function."""
        module, _, name = self.path.partition(":")
        return getattr(import_module(module), name)(*args, **options)


def load_plugins() -> None:
    """Import the modules with which installed packages add entries."""
    for point in entry_points(group=_GROUP):
        point.load()
