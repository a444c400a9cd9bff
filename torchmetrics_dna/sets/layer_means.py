"""Spatial means of all layers of single images, which one pass over the images keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from torchmetrics_dna.binning.moments import spatial_means

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


class LayerMeans:
    """Spatial means of all layers, image by image; float32, on the CPU."""

    def __init__(self) -> None:
        self._parts: list[Tensor] = []

    def add(self, activations: Mapping[str, Tensor]) -> None:
        """Add a batch of images."""
        self._parts.append(torch.cat([spatial_means([values]) for values in activations.values()]).T.float().cpu())

    def values(self) -> Tensor:
        """Shape ``(images, N)``, in the order in which they were added."""
        return torch.cat(self._parts) if self._parts else torch.zeros(0)  # which joins with any shape
