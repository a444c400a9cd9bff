"""One statistic for each of several groups of images, such as folds or classes."""

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
    """Statistic for each of K groups, whose states are concatenated in flat tensors.

    Args:
        statistic: Statistic of one group.
        count: Number of groups, K.
        prefix: Prefix of the names of its tensors.

    """

    def __init__(self, statistic: DNAStatistic[_D], count: int, prefix: str = "") -> None:
        self.statistic, self.count, self._prefix = statistic, count, prefix

    @property
    def fields(self) -> dict[str, Field]:
        """Layout of the tensors of all groups, by name."""
        fields = self.statistic.fields.items()
        return {self._prefix + name: field._replace(size=self.count * field.size) for name, field in fields}

    def add_(self, state: State, parts: Parts, groups: Tensor) -> None:
        """Add a batch in place, each image to its group; ``groups`` has shape ``(B,)``, int64, on the CPU."""
        present = groups.unique().tolist()  # type: ignore[no-untyped-call]
        for k in present:
            images_of_group = images_of(parts, groups == k) if len(present) > 1 else parts
            self.statistic.add_(self.of(state, k), images_of_group, int((groups == k).sum()))

    def merge_(self, state: State, other: State) -> None:
        """Add another state in place."""
        if self.statistic.additive:
            for name in self.fields:
                state[name] += other[name].to(state[name].device)
            return
        for k in range(self.count):
            self.statistic.merge_(self.of(state, k), self.of(other, k))

    def reduce_(self, state: State, group: Any = None) -> None:
        """Reduce the states of all processes in place; by one all-reduce for each tensor if states are additive."""
        if self.statistic.additive:
            for name in self.fields:
                dist.all_reduce(state[name], group=group)
            return
        for k in range(self.count):
            self.statistic.reduce_(self.of(state, k), group)

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
