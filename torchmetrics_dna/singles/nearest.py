"""The nearest image of a set to each of others, which shows copies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torchmetrics_dna.dna.identity import check_same, identity

if TYPE_CHECKING:
    from torchmetrics_dna.dna.features import Features
    from torchmetrics_dna.extractors import DNAExtractor

COPY = 0.5  # nearer than this share of what is usual there, an image is called a likely copy
_AT_ONCE = 1024  # images whose distances to all others are in memory: 40 MB for 10,000


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest image of an index to each of others.

    Attributes:
        names: Names of the nearest images.
        distances: Euclidean distances of spatial means, float32, shape ``(B,)``.
        ratios: These over the distance from the nearest image to the one that is nearest to it in the index. About 1
            and more is usual; far below 1, an image is nearer to this one than any other of the set is: a copy.

    """

    names: list[str]
    distances: Tensor
    ratios: Tensor

    @property
    def copies(self) -> Tensor:
        """True for likely copies, bool, shape ``(B,)``."""
        return (self.ratios < COPY) | (self.distances == 0)

    def take(self, order: Tensor) -> Nearest:
        """The same for some images, in this order."""
        return Nearest([self.names[i] for i in order.tolist()], self.distances[order], self.ratios[order])


def find_nearest(features: Features, index: Features) -> Nearest:
    """Find the nearest image of an index to each of others, by Euclidean distance of their features."""
    places, distances = _nearest(features.values, index.values)
    reached = torch.unique(places)
    _, apart = _nearest(index.values[reached], index.values, reached)
    usual = torch.full((index.num_images,), torch.nan).index_copy_(0, reached, apart)
    names = index.names or [f"image {number}" for number in range(index.num_images)]
    return Nearest([names[place] for place in places.tolist()], distances, distances / usual[places])


def check_index(index: Features, extractor: DNAExtractor) -> None:
    """ValueError unless an index has images, and is of this extractor's last layer."""
    if not index.num_images:
        raise ValueError(f"The index of images expected to hold images, but got {index!r}; make it anew")
    check_same(
        "The index of images does not fit",
        identity(index.extractor, index.weights_digest, index.preparation, layers=list(index.neurons)),
        identity(extractor.name, extractor.weights_digest, extractor.preparation, layers=list(extractor.neurons)[-1:]),
        remedy="; make it anew with this extractor and these layers",
    )


def _nearest(values: Tensor, index: Tensor, own: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Place of the nearest in the index, and its distance, for each of some images; ``own`` places do not count."""
    places, distances = [], []
    for first in range(0, len(values), _AT_ONCE):
        some = values[first : first + _AT_ONCE]
        apart = torch.cdist(some, index)
        if own is not None:
            apart[torch.arange(len(some)), own[first : first + _AT_ONCE]] = torch.inf
        nearest = apart.argmin(1)
        places.append(nearest)
        # anew, for a matrix product loses the digits of small distances
        exact = (some - index[nearest]).norm(dim=1)
        distances.append(torch.where(apart.amin(1).isinf(), torch.nan, exact))  # there is no other
    return torch.cat(places), torch.cat(distances)
