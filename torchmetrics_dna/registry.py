"""Registries: presets, distances and kinds of files by name, to which other packages add theirs.

A package whose ``pyproject.toml`` has an entry point of the group ``torchmetrics_dna`` is loaded before any command::

    [project.entry-points.torchmetrics_dna]
    mine = "my_package.visual_dna"

In Python, import the module that registers. Tables of records import no torch, so that ``--help`` starts fast; what a
record calls is a :class:`Lazy` function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Protocol, TypeVar

_GROUP = "torchmetrics_dna"


class _Record(Protocol):
    @property
    def name(self) -> str: ...


_R = TypeVar("_R", bound=_Record)


class Registry(dict[str, _R]):
    """Records by name, in the order in which lists and tables show them.

    Args:
        what: What a record, or one of its names, is called in errors.
        records: The first records.
        names: Function that returns the names of a record, which no other may have; by default its name alone.
        spelling: Function that returns what all spellings of a name have in common.

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
        self._what, self._names, self._spelling = what, names, spelling
        for record in records:
            self.register(record)

    def register(self, record: _R) -> None:
        """Add a record; ValueError if one of its names is taken."""
        for name in self._names(record):
            if self.find(name) is not None:
                raise ValueError(f"The {self._what} {name!r} is there already")
        self[record.name] = record

    def find(self, name: str) -> _R | None:
        """Return the record of any of its names, in any spelling; None if there is none."""
        spelt = self._spelling(name)
        return next((record for record in self.values() if spelt in map(self._spelling, self._names(record))), None)


@dataclass(frozen=True)
class Lazy:
    """Function that is imported when it is called."""

    path: str  # its module and name, as in "my_package.sets:open_raw"

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Call the function."""
        module, _, name = self.path.partition(":")
        return getattr(import_module(module), name)(*args, **options)


def load_plugins() -> None:
    """Load what installed packages register."""
    for point in entry_points(group=_GROUP):
        point.load()
