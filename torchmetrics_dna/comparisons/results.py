"""Bases of results that notebooks show, and of what holds results by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

from torchmetrics_dna.dna.saving import Saved
from torchmetrics_dna.files.tables import as_html

if TYPE_CHECKING:
    from torchmetrics_dna.files.tables import Table

_T = TypeVar("_T")


class Shown(Saved, ABC):
    """Base of results that have a sentence and a table, which notebooks show."""

    @property
    @abstractmethod
    def verdict(self) -> str:
        """The result in sentences."""

    @property
    @abstractmethod
    def table(self) -> Table:
        """The result as a table."""

    def _repr_html_(self) -> str:
        return as_html([self.verdict], [self.table])


class Results(Shown, Mapping[str, _T]):
    """A mapping of ``results``, compared and hashed by identity: equal mappings would be compared by their tensors."""

    results: Mapping[str, _T]

    def __getitem__(self, name: str) -> _T:
        return self.results[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    __eq__, __hash__ = object.__eq__, object.__hash__
