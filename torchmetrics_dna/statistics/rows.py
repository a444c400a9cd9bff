"""Statistics with a row for each image, such as its features."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.binning.histogram import check_finite
from torchmetrics_dna.binning.moments import spatial_means
from torchmetrics_dna.statistics.base import Field, State, Statistic, gather_rows, rows_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torchmetrics_dna.binning.layouts import Parts
    from torchmetrics_dna.extractors import DNAExtractor


class ImageRows(Statistic):
    """Base class of statistics with a row for each image, in order of addition, on the CPU.

    A state is ``{"rows": [...]}``, a list of tensors ``(b, n)``. Each process keeps the rows of its own images; a
    caller that knows the global order concatenates them.
    """

    kind = "rows"
    by_image: ClassVar[bool] = True

    def __init__(self) -> None:
        """Set up without an extractor, since rows of different extractors are never merged."""

    @property
    @override
    def fields(self) -> dict[str, Field]:
        return {}

    @override
    def empty(self, device: torch.device | str) -> State:
        return cast("State", {"rows": []})

    @override
    def add_(self, state: State, parts: Parts, num_images: int) -> None:
        rows_of(state).extend(self.rows(part).cpu() for part in parts)

    @abstractmethod
    def rows(self, activations: Mapping[str, Tensor]) -> Tensor:
        """Compute the rows of a batch ``{layer: (B, n, *positions)}``, shape ``(B, columns)``."""

    @override
    def merge_(self, state: State, other: State) -> None:
        rows_of(state).extend(rows_of(other))

    @override
    def reduce_(self, state: State, group: Any = None) -> None:
        """Do nothing: each process keeps its rows."""

    @override
    def value(self, state: State) -> Tensor:
        """Return the rows, ``(images, columns)``; for no images, an empty tensor that concatenates with any."""
        rows = rows_of(state)
        return torch.cat(rows) if rows else torch.zeros(0)


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
        return cast("State", {"features": []})

    @override
    def add_(self, state: State, parts: Parts, num_images: int) -> None:
        rows_of(state, "features").append(_features(parts, self.layer).contiguous())

    @override
    def merge_(self, state: State, other: State) -> None:
        rows_of(state, "features").extend(self._fitting(state, other))

    @override
    def put_before_(self, state: State, earlier: State) -> None:
        rows_of(state, "features")[:0] = self._fitting(state, earlier)

    @override
    def reduce_(self, state: State, group: Any = None) -> None:
        rows_of(state, "features")[:] = [in_turn(gather_rows(self.value(state), group))]

    @override
    def joined(self, states: Sequence[State], device: torch.device) -> State:
        return cast("State", {"features": [in_turn([self.value(state).to(device) for state in states])]})

    @override
    def value(self, state: State) -> Tensor:
        """Return the features of a state, shape ``(images, n)``."""
        parts = rows_of(state, "features")
        if isinstance(parts, Tensor):
            return parts
        if not parts:
            return torch.zeros(0, self.width, device=self.extractor.device)
        if len(parts) > 1:
            parts[:] = [torch.cat(parts)]  # replaces the parts, which would take the memory twice
        return parts[0]

    def _fitting(self, state: State, other: State) -> list[Tensor]:
        """Return the parts of another state, on the device of this one."""
        mine, theirs = rows_of(state, "features"), rows_of(other, "features")
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
