"""Spatial means of one layer, for metrics that take a feature network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from torchmetrics_dna.extractors.sharing import Shareable

if TYPE_CHECKING:
    from torch import Tensor

    from torchmetrics_dna.extractors.base import DNAExtractor


class PooledLayer(Shareable):
    """Spatial means of one layer of an extractor, shape ``(B, n)``, float32; see :meth:`DNAExtractor.pooled`.

    Attributes:
        num_features: The number of neurons n.

    """

    def __init__(self, extractor: DNAExtractor, layer: str) -> None:
        super().__init__()
        if layer not in extractor.neurons:
            raise ValueError(f"Unknown layer {layer!r}; the layers are: {', '.join(extractor.neurons)}")
        self.extractor = extractor
        self.layer = layer
        self.num_features = extractor.neurons[layer]
        extractor.share_with(self)

    def forward(self, imgs: Tensor) -> Tensor:
        """Spatial means for images as the extractor takes them."""
        pieces = [part[self.layer] for part in self.extractor.in_parts(imgs)]
        return torch.cat([piece.flatten(2).mean(2) if piece.ndim > 2 else piece for piece in pieces])

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.extractor.share_with(self)
