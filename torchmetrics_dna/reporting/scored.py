"""Images of one side by how much closer they are to the other side than to their own: some, or all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from torchmetrics_dna.sets.rank import rank

if TYPE_CHECKING:
    from torch import Tensor
    from typing_extensions import Unpack

    from torchmetrics_dna.dna import HistogramDNA
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import ImageSource
    from torchmetrics_dna.sets.loading import LoadingOptions
    from torchmetrics_dna.sets.ranking import Ranking


@dataclass(frozen=True)
class Scored:
    """Images of one side, by how much closer they are to the other.

    Attributes:
        ranking: Of the images that were drawn; its numbers count these.
        num_images: How many there were to draw from.

    """

    ranking: Ranking
    num_images: int

    def ends(self, most: int) -> tuple[list[int], list[int]]:
        """Places in the ranking of the images most like the other side, and of those least like it, least first."""
        places = list(range(len(self.ranking.names)))
        half = (len(places) + 1) // 2
        return places[:half][:most], places[half:][::-1][:most]


def score_some(
    images: ImageSource,
    num_scored: int,
    reference: HistogramDNA,
    contrast: HistogramDNA,
    extractor: DNAExtractor,
    weights: Tensor | None,
    **loading: Unpack[LoadingOptions],
) -> Scored:
    """Rank images by how much closer they are to a reference than to a contrast.

    Args:
        images: Of one side.
        num_scored: How many to draw at random, the same ones each time.
        reference: The DNA of the other side.
        contrast: The DNA of their own side.
        extractor: What made it.
        weights: The weights of Eq. (5), shape ``(N,)``; None for the plain mean.
        loading: See :class:`Loading`.

    """
    count = len(images)
    drawn = torch.randperm(count, generator=torch.Generator().manual_seed(0))[:num_scored].sort().values.tolist()
    found = rank(images.take(drawn), reference, extractor, contrast=contrast, neuron_weights=weights, **loading)
    return Scored(found, count)
