"""Features of single images, which one pass over the images keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from torchmetrics_dna.binning.moments import spatial_means
from torchmetrics_dna.sets.processes import gather

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor


class Features:
    """Spatial means of the last layer, image by image; float32, on the CPU."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._parts: list[Tensor] = []

    def add(self, activations: Mapping[str, Tensor], numbers: Sequence[int]) -> None:
        """Add a batch of images; ``numbers`` are their places in the source."""
        last = list(activations.values())[-1]
        self._parts.append(spatial_means([last]).T.float().cpu())
        self._numbers.extend(numbers)

    def gather(self) -> None:
        """Gather the features of all processes."""
        every = gather((self._numbers, self._parts))
        self._numbers = [number for numbers, _ in every for number in numbers]
        self._parts = [part for _, parts in every for part in parts]

    def in_order(self) -> Tensor:
        """Shape ``(images, n)``, in the order of the source, whichever process saw an image."""
        return torch.cat(self._parts)[torch.tensor(self._numbers).argsort()]
