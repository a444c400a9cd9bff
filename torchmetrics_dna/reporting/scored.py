"""Images of one side by how much closer they are to the other side than to their own: some, or all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from torchmetrics_dna.jobs.features import contrasted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from torchmetrics_dna.images import ImageSource
    from torchmetrics_dna.jobs.measure import Measured


@dataclass(frozen=True, eq=False)
class Scored:
    """Images of one side, those most like the other first.

    Attributes:
        images: The side.
        names: What the images are called that were scored.
        numbers: Where they stand in the side.
        scores: dna-emd to the other side less that to their own, in bins, float64, ascending.

    """

    images: ImageSource
    names: Sequence[str]
    numbers: Sequence[int]
    scores: Tensor

    @classmethod
    def of(cls, images: ImageSource, measured: Measured) -> Scored:
        """From ``"distances"`` that were kept of images, to the other side and to their own."""
        scores = contrasted(measured.kept["distances"])
        order = torch.argsort(scores, stable=True)
        names, numbers = ([given[i] for i in order.tolist()] for given in (measured.names, measured.numbers))
        return cls(images, names, numbers, scores[order])

    def ends(self, most: int) -> tuple[list[int], list[int]]:
        """Places of the images most like the other side, and of those least like it, least first."""
        places = list(range(len(self.names)))
        half = (len(places) + 1) // 2
        return places[:half][:most], places[half:][::-1][:most]
