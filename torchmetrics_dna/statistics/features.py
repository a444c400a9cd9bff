"""Features of single images, one row each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch import distributed as dist
from typing_extensions import override

from torchmetrics_dna.binning.histogram import check_finite
from torchmetrics_dna.binning.moments import spatial_means
from torchmetrics_dna.statistics.base import Field, State, Statistic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_dna.binning.layouts import Parts
    from torchmetrics_dna.extractors import DNAExtractor


class FeatureStatistic(Statistic):
    """Spatial means of one layer, float32, one row per image, in order of addition.

    A state is ``{"features": [...]}``, a list of tensors ``(b, n)``, which are never changed in place.
    """

    kind = "features"

    def __init__(self, extractor: DNAExtractor, layer: str) -> None:
        super().__init__(extractor, **{"layers of features": layer})
        self.layer = layer
        self.width = extractor.neurons[layer]

    @property
    @override
    def fields(self) -> dict[str, Field]:
        return {"features": Field(0, torch.float32, 0)}

    @override
    def empty(self, device: torch.device | str) -> State:
        return _state([])

    @override
    def add_(self, state: State, parts: Parts, num_images: int) -> None:
        _parts(state).append(_features(parts, self.layer).contiguous())

    @override
    def merge_(self, state: State, other: State) -> None:
        _parts(state).extend(self._fitting(state, other))

    @override
    def put_before_(self, state: State, earlier: State) -> None:
        _parts(state)[:0] = self._fitting(state, earlier)

    @override
    def reduce_(self, state: State, group: Any = None) -> None:
        own = self.value(state)
        world = dist.get_world_size(group)
        counts = [torch.zeros(1, dtype=torch.int64, device=own.device) for _ in range(world)]
        dist.all_gather(counts, torch.tensor([len(own)], device=own.device), group=group)
        sizes = [int(count) for count in counts]
        padded = own.new_zeros(max(sizes), self.width)
        padded[: len(own)] = own
        gathered = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(gathered, padded, group=group)
        _parts(state)[:] = [in_turn([rows[:size] for rows, size in zip(gathered, sizes, strict=True)])]

    @override
    def joined(self, states: Sequence[State], device: torch.device) -> State:
        return _state([in_turn([self.value(state).to(device) for state in states])])

    @override
    def value(self, state: State) -> Tensor:
        """Return the features of a state, shape ``(images, n)``."""
        parts = _parts(state)
        if isinstance(parts, Tensor):
            return parts
        if not parts:
            return torch.zeros(0, self.width, device=self.extractor.device)
        if len(parts) > 1:
            parts[:] = [torch.cat(parts)]  # replaces the parts, which would take the memory twice
        return parts[0]

    def _fitting(self, state: State, other: State) -> list[Tensor]:
        """Return the parts of another state, on the device of this one."""
        mine, theirs = _parts(state), _parts(other)
        theirs = [theirs] if isinstance(theirs, Tensor) else theirs
        return [part.to(mine[0].device) for part in theirs] if mine else list(theirs)


def _features(parts: Parts, layer: str) -> Tensor:
    """Spatial means of a layer, float32, ``(images, n)``; ValueError if they are not finite."""
    pieces = [part[layer] for part in parts]
    if pieces[0].device.type == "cpu":  # on other devices this would sync; non-finite features show when they are read
        check_finite([{layer: piece} for piece in pieces])
    return spatial_means(pieces).T.float()


def in_turn(shares: Sequence[Tensor]) -> Tensor:
    """Interleave the rows of all processes, as a distributed sampler deals them out.

    Example:
        >>> in_turn([torch.tensor([[0], [2]]), torch.tensor([[1]])]).flatten()
        tensor([0, 1, 2])

    """
    turn = torch.cat([torch.arange(len(share)) for share in shares])
    return torch.cat(list(shares))[turn.argsort(stable=True).to(shares[0].device)]


def _state(parts: list[Tensor]) -> State:
    return cast("State", {"features": parts})


def _parts(state: State) -> list[Tensor]:
    return cast("list[Tensor]", state["features"])
