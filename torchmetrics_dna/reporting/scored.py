"""Images of one side, ordered by how much closer they are to the other side than to their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from torchmetrics_dna.jobs.features import contrasted
from torchmetrics_dna.singles.maps import heat_maps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from torchmetrics_dna.images import ImageSource
    from torchmetrics_dna.jobs.measure import Measured
    from torchmetrics_dna.statistics.scores import ImageScorer


@dataclass(frozen=True, eq=False)
class Scored:
    """Scored images of one side, those most like the other side first.

    Attributes:
        images: All images of the side.
        names: Names of the scored images.
        numbers: Their indices in ``images``.
        scores: dna-emd to the other side minus dna-emd to their own, in bins, float64, ascending.
        mapper: Scorer that gave the scores.

    """

    images: ImageSource
    names: Sequence[str]
    numbers: Sequence[int]
    scores: Tensor
    mapper: ImageScorer

    @classmethod
    def of(cls, images: ImageSource, measured: Measured, mapper: ImageScorer) -> Scored:
        """Order the images by the ``"distances"`` to the other side and to their own that ``mapper`` measured."""
        scores = contrasted(measured.rows["distances"])
        order = torch.argsort(scores, stable=True)
        names, numbers = ([values[i] for i in order.tolist()] for values in (measured.names, measured.numbers))
        return cls(images, names, numbers, scores[order], mapper)

    def least_like(self, most: int) -> list[int]:
        """Return positions of the images least like the other side, those first."""
        return list(range(len(self.names)))[::-1][:most]

    def maps(self, places: Sequence[int]) -> Tensor:
        """Split the scores of images at these positions among places, ``(images, side, side)``; reads the images."""
        return heat_maps(self.mapper, self.images, [self.numbers[place] for place in places])
