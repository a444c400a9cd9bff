"""One statistic for each of several groups of images, such as folds or classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from typing_extensions import override

from torchmetrics_dna.dna import DNA
from torchmetrics_dna.dna.base import merged
from torchmetrics_dna.statistics.base import DNAStatistic, Field, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from torchmetrics_dna.binning.layouts import Parts

_D = TypeVar("_D", bound=DNA)


class Grouped(DNAStatistic[_D], Generic[_D]):
    """Statistic for each of ``count`` groups, whose states are concatenated in flat tensors, named with a prefix.

    Its value is the DNA of all groups.
    """

    def __init__(self, statistic: DNAStatistic[_D], count: int, prefix: str = "") -> None:
        super().__init__(statistic.extractor)
        self.statistic, self.count, self._prefix = statistic, count, prefix

    @property
    @override
    def fields(self) -> dict[str, Field]:
        fields = self.statistic.fields.items()
        return {self._prefix + name: field._replace(size=self.count * field.size) for name, field in fields}

    @override
    def add_(self, state: State, parts: Parts, num_images: int) -> None:
        raise ValueError("Each image needs its class; give `classes`")

    @override
    def add_keyed_(self, state: State, parts: Parts, keys: Tensor) -> None:
        """Add a batch in place, each image to the group that is its key."""
        self.statistic.add_each_(self._by_group(state), parts, keys)

    @override
    def merge_(self, state: State, other: State) -> None:
        if self.statistic.additive:
            super().merge_(state, other)
            return
        for k in range(self.count):
            self.statistic.merge_(self.of(state, k), self.of(other, k))

    @override
    def reduce_(self, state: State, group: Any = None) -> None:
        if self.statistic.additive:
            super().reduce_(state, group)
            return
        for k in range(self.count):
            self.statistic.reduce_(self.of(state, k), group)

    @override
    def value(self, state: State) -> _D:
        return merged(self.values(state))

    def values(self, state: State) -> list[_D]:
        """Return the DNA of each group; views of the state if possible."""
        return [self.statistic.value(self.of(state, k)) for k in range(self.count)]

    def of(self, state: State, k: int) -> State:
        """Return the state of one group, as views."""
        return {name: rows[k] for name, rows in self._by_group(state).items()}

    def _by_group(self, state: State) -> State:
        """Return the states of all groups, a row for each, as views."""
        return {name: state[self._prefix + name].view(self.count, -1) for name in self.statistic.fields}


class ClassedStatistic(Grouped[_D], Generic[_D]):
    """Statistic of each class, by name."""

    def __init__(self, statistic: DNAStatistic[_D], names: Sequence[str]) -> None:
        super().__init__(statistic, len(names))
        self.names = names

    @property
    @override
    def configuration(self) -> dict[str, Any]:
        return self.statistic.configuration | {"classes": list(self.names)}

    def to_dnas(self, state: State) -> dict[str, _D]:
        """Return the DNA of each class by name; views of the state if possible."""
        return dict(zip(self.names, self.values(state), strict=True))


def class_names(classes: int | Sequence[str]) -> tuple[str, ...]:
    """Return names of classes from their number or names; ValueError if there are none, or duplicates.

    Example:
        >>> class_names(3)
        ('0', '1', '2')

    """
    names = tuple(map(str, range(classes) if isinstance(classes, int) else classes))
    if not names or len(set(names)) < len(names):
        raise ValueError(f"Argument `classes` expected to be a number above 0, or different names, but got {classes!r}")
    return names


def class_numbers(classes: Tensor | Sequence[int | str], names: Sequence[str], num_images: int) -> Tensor:
    """Return the number of each image's class, by number or name, shape ``(B,)``, int64, on the CPU.

    Raises:
        ValueError: If not as many classes as images are given, or one is unknown.

    """
    labels = classes.tolist() if isinstance(classes, torch.Tensor) else list(classes)
    if not isinstance(labels, list) or len(labels) != num_images:
        got = len(labels) if isinstance(labels, list) else "a scalar"
        raise ValueError(f"Argument `classes` expected to have a class for each of {num_images} images, but got {got}")
    numbers: dict[object, int] = {name: k for k, name in enumerate(names)} | {k: k for k in range(len(names))}
    unknown = next((label for label in labels if label not in numbers), None)
    if unknown is not None:
        few = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        raise ValueError(f"Argument `classes` has {unknown!r}, which is not one of the {len(names)} classes ({few})")
    return torch.tensor([numbers[label] for label in labels], dtype=torch.int64)
