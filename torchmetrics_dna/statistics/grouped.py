"""One statistic for each of several groups of images: folds, or classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import distributed as dist

from torchmetrics_dna.binning.layouts import sent
from torchmetrics_dna.dna import DNA

if TYPE_CHECKING:
    from torch import Tensor

    from torchmetrics_dna.binning.layouts import Parts
    from torchmetrics_dna.statistics.base import DNAStatistic, Field, State

_D = TypeVar("_D", bound=DNA)


class Grouped(Generic[_D]):
    """A statistic for each of K groups, whose states lie one after the other in flat tensors.

    Args:
        statistic: How the images of a group add up.
        count: The K.
        prefix: What the names of its tensors begin with.

    """

    def __init__(self, statistic: DNAStatistic[_D], count: int, prefix: str = "") -> None:
        self.statistic, self.count, self._prefix = statistic, count, prefix

    @property
    def fields(self) -> dict[str, Field]:
        """The tensors of all groups, by name."""
        fields = self.statistic.fields.items()
        return {self._prefix + name: field._replace(size=self.count * field.size) for name, field in fields}

    def add_(self, state: State, parts: Parts, groups: Tensor) -> None:
        """Add a batch in place, each image to its group; ``groups`` has shape ``(B,)``, int64, on the CPU."""
        present = groups.unique().tolist()  # type: ignore[no-untyped-call]
        for k in present:
            some = images_of(parts, groups == k) if len(present) > 1 else parts
            self.statistic.add_(self.of(state, k), some, int((groups == k).sum()))

    def merge_(self, state: State, other: State) -> None:
        """Add another state in place."""
        if self.statistic.additive:
            for name in self.fields:
                state[name] += other[name].to(state[name].device)
            return
        for k in range(self.count):
            self.statistic.merge_(self.of(state, k), self.of(other, k))

    def reduce_(self, state: State, group: Any = None) -> None:
        """Add the states of all processes in place; one all-reduce for each tensor if its groups may just be added."""
        if self.statistic.additive:
            for name in self.fields:
                dist.all_reduce(state[name], group=group)
            return
        for k in range(self.count):
            self.statistic.reduce_(self.of(state, k), group)

    def values(self, state: State) -> list[_D]:
        """The DNA of each group; views of the state where possible."""
        return [self.statistic.value(self.of(state, k)) for k in range(self.count)]

    def of(self, state: State, k: int) -> State:
        """The state of one group: views."""
        return {
            name: state[self._prefix + name][k * field.size : (k + 1) * field.size]
            for name, field in self.statistic.fields.items()
        }


def images_of(parts: Parts, chosen: Tensor) -> Parts:
    """Some images of a batch, ``chosen`` of shape ``(B,)``, on the CPU; a view if the selection is contiguous."""
    sizes = [len(next(iter(part.values()))) for part in parts]
    selected = []
    for part, here in zip(parts, torch.split(chosen, sizes), strict=True):
        places = here.nonzero().flatten()
        if len(places):
            first, end = int(places[0]), int(places[-1]) + 1
            is_contiguous = end - first == len(places)
            some = slice(first, end) if is_contiguous else sent(places, next(iter(part.values())).device)
            selected.append({layer: values[some] for layer, values in part.items()})
    return selected
