"""Base of what holds results by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

_T = TypeVar("_T")


class Results(Mapping[str, _T]):
    """A mapping of ``results``, compared and hashed by identity: equal mappings would be compared by their tensors."""

    results: Mapping[str, _T]

    def __getitem__(self, name: str) -> _T:
        return self.results[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    __eq__, __hash__ = object.__eq__, object.__hash__
