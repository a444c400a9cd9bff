"""One statistic for each of several groups of images, such as folds or classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from typing_extensions import override

from torchmetrics_dna.binning.layouts import sent
from torchmetrics_dna.dna import DNA
from torchmetrics_dna.dna.base import merged
from torchmetrics_dna.statistics.base import DNAStatistic, Field, State

if TYPE_CHECKING:
    from torch import Tensor

    from torchmetrics_dna.binning.layouts import Parts

_D = TypeVar("_D", bound=DNA)


class Grouped(DNAStatistic[_D], Generic[_D]):
    """Statistic for each of K groups, whose states are concatenated in flat tensors; its value is the DNA of all.

    Args:
        statistic: Statistic of one group.
        count: Number of groups, K.
        prefix: Prefix of the names of its tensors.

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
        present = keys.unique().tolist()  # type: ignore[no-untyped-call]
        for k in present:
            images_of_group = images_of(parts, keys == k) if len(present) > 1 else parts
            self.statistic.add_(self.of(state, k), images_of_group, int((keys == k).sum()))

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
        return {
            name: state[self._prefix + name][k * field.size : (k + 1) * field.size]
            for name, field in self.statistic.fields.items()
        }


def images_of(parts: Parts, chosen: Tensor) -> Parts:
    """Select images of a batch by the mask ``chosen``, ``(B,)``, on the CPU; a view if the selection is contiguous."""
    sizes = [len(next(iter(part.values()))) for part in parts]
    selected = []
    for part, mask in zip(parts, torch.split(chosen, sizes), strict=True):
        indices = mask.nonzero().flatten()
        if len(indices):
            first, end = int(indices[0]), int(indices[-1]) + 1
            is_contiguous = end - first == len(indices)
            selection = slice(first, end) if is_contiguous else sent(indices, next(iter(part.values())).device)
            selected.append({layer: values[selection] for layer, values in part.items()})
    return selected
