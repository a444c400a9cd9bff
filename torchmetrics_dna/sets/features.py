"""What one pass over images keeps of each of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from typing_extensions import override

from torchmetrics_dna.binning.moments import spatial_means

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from torchmetrics_dna.dna import DNA


class PerImage(ABC):
    """What is kept of single images, in the order in which they are added."""

    @abstractmethod
    def add(self, activations: dict[str, Tensor]) -> None:
        """Add a batch of images, ``{layer: (B, n, *positions)}``."""

    @abstractmethod
    def values(self, dnas: Mapping[str, DNA]) -> Tensor:
        """A row for each image, on the CPU, once it is known which DNAs they make, by kind, with those of others."""


class Features(PerImage):
    """Spatial means of the last layer, float32, ``(images, n)``."""

    def __init__(self) -> None:
        self._parts: list[Tensor] = []

    @override
    def add(self, activations: dict[str, Tensor]) -> None:
        last = list(activations.values())[-1]
        self._parts.append(spatial_means([last]).T.float().cpu())

    @override
    def values(self, dnas: Mapping[str, DNA] | None = None) -> Tensor:
        return torch.cat(self._parts) if self._parts else torch.zeros(0)  # which joins with any shape


class LayerMeans(PerImage):
    """Spatial means of all layers, float32, ``(images, N)``."""

    def __init__(self) -> None:
        self._parts: list[Tensor] = []

    @override
    def add(self, activations: dict[str, Tensor]) -> None:
        self._parts.append(torch.cat([spatial_means([values]) for values in activations.values()]).T.float().cpu())

    @override
    def values(self, dnas: Mapping[str, DNA] | None = None) -> Tensor:
        return torch.cat(self._parts) if self._parts else torch.zeros(0)
