"""One statistic for each of several groups of images, such as folds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import torch
from typing_extensions import override

from torchmetrics_dna.dna import DNA
from torchmetrics_dna.dna.base import merged
from torchmetrics_dna.statistics.base import DNAStatistic, Field, State

if TYPE_CHECKING:
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
        return {
            self._prefix + name: field._replace(
                size=self.count * field.size, reduction=self.merged if callable(field.reduction) else field.reduction
            )
            for name, field in self.statistic.fields.items()
        }

    @override
    def add_(self, state: State, parts: Parts, num_images: int, finite: Tensor | None = None) -> None:
        raise NotImplementedError("Each image needs its group")

    @override
    def add_keyed_(self, state: State, parts: Parts, keys: Tensor, finite: Tensor | None = None) -> None:
        """Add a batch in place, each image to the group that is its key."""
        self.statistic.add_each_(self._by_group(state), parts, keys, finite)

    @override
    def merge_(self, state: State, earlier: State) -> None:
        for k in range(self.count):
            self.statistic.merge_(self.of(state, k), self.of(earlier, k))

    @override
    def shared(self, state: State) -> Tensor:
        return torch.cat([self.statistic.shared(self.of(state, k)) for k in range(self.count)])

    @override
    def align_(self, state: State, shared: Tensor, is_first: bool) -> None:
        for k, own in enumerate(shared.chunk(self.count)):
            self.statistic.align_(self.of(state, k), own, is_first)

    @override
    def forget_refused_(self, state: State) -> None:
        for k in range(self.count):
            self.statistic.forget_refused_(self.of(state, k))

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
