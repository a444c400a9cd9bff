"""Statistics with a row for each image."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.statistics.base import Field, State, Statistic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torchmetrics_dna.binning.layouts import Parts


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


def rows_of(state: State) -> list[Tensor]:
    """Return the rows of a state, a tensor for each batch."""
    return cast("list[Tensor]", state["rows"])
