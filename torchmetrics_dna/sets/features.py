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
    """Spatial means of the last layer, float32, ``(images, n)``; or of all layers, ``(images, N)``."""

    def __init__(self, all_layers: bool = False) -> None:
        self._all_layers = all_layers
        self._parts: list[Tensor] = []

    @override
    def add(self, activations: dict[str, Tensor]) -> None:
        layers = list(activations.values())[0 if self._all_layers else -1 :]
        self._parts.append(torch.cat([spatial_means([values]) for values in layers]).T.float().cpu())

    @override
    def values(self, dnas: Mapping[str, DNA] | None = None) -> Tensor:
        return torch.cat(self._parts) if self._parts else torch.zeros(0)  # which joins with any shape
