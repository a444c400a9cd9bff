"""Statistics that keep a row for each image."""

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
    """A row for each image, in the order in which images are added, on the CPU.

    A state is ``{"rows": [...]}``, a list of tensors ``(b, n)``. Processes keep the rows of their own images: who knows
    the order of all puts them together.
    """

    kind = "rows"
    by_image: ClassVar[bool] = True

    def __init__(self) -> None:
        """Needs no extractor: rows are never merged with those of another one."""

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
        """Rows of a batch of images ``{layer: (B, n, *positions)}``, shape ``(B, columns)``."""

    @override
    def merge_(self, state: State, other: State) -> None:
        rows_of(state).extend(rows_of(other))

    @override
    def reduce_(self, state: State, group: Any = None) -> None:
        """Leave the rows of each process where they are."""

    @override
    def value(self, state: State) -> Tensor:
        """The rows, ``(images, columns)``; of no images, a tensor that joins with any."""
        rows = rows_of(state)
        return torch.cat(rows) if rows else torch.zeros(0)


def rows_of(state: State) -> list[Tensor]:
    """The rows of a state, a tensor for each batch."""
    return cast("list[Tensor]", state["rows"])
