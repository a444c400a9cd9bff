"""Nearest neighbours of images in an index, to find copies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torchmetrics_dna.dna.identity import check_same, identity

if TYPE_CHECKING:
    from torchmetrics_dna.dna.features import Features
    from torchmetrics_dna.extractors import DNAExtractor

COPY = 0.5  # ratio below which an image is called a likely copy
_SAME = 1e-3  # distance, in norms, up to which rows of an index are the same image, but for rounding
_AT_ONCE = 1024  # images at a time, whose distances take 40 MB for an index of 10,000


@dataclass(frozen=True, eq=False)
class Nearest:
    """Nearest image in an index for each of B images.

    Attributes:
        names: Names of the nearest images.
        distances: Euclidean distances of spatial means, float32, shape ``(B,)``.
        ratios: Distances divided by the distance of the nearest image to its own nearest neighbour in the index that
            is another image; NaN if there is none. Usual values are about 1 or more; far below 1, an image is a likely
            copy.

    """

    names: list[str]
    distances: Tensor
    ratios: Tensor

    @property
    def copies(self) -> Tensor:
        """True for likely copies, bool, shape ``(B,)``."""
        return (self.ratios < COPY) | (self.distances == 0)

    def take(self, order: Tensor) -> Nearest:
        """Return the entries of these images, in this order."""
        return Nearest([self.names[i] for i in order.tolist()], self.distances[order], self.ratios[order])


def find_nearest(features: Features, index: Features) -> Nearest:
    """Find the nearest image in an index for each image, by Euclidean distance of their features."""
    neighbours, distances = _nearest(features.values, index.values)
    used = torch.unique(neighbours)
    _, spacing = _nearest(index.values[used], index.values, least=_SAME)
    usual = torch.full((index.num_images,), torch.nan).index_copy_(0, used, spacing)
    names = index.names or [f"image {number}" for number in range(index.num_images)]
    return Nearest([names[neighbour] for neighbour in neighbours.tolist()], distances, distances / usual[neighbours])


def check_index(index: Features, extractor: DNAExtractor) -> None:
    """Raise ValueError unless an index has images, and is of this extractor's last layer."""
    if not index.num_images:
        raise ValueError(f"The index of images expected to hold images, but got {index!r}; make it anew")
    check_same(
        "The index of images does not fit",
        identity(index.extractor, index.weights_digest, index.preparation, layers=list(index.neurons)),
        identity(extractor.name, extractor.weights_digest, extractor.preparation, layers=list(extractor.neurons)[-1:]),
        remedy="; make it anew with this extractor and these layers",
    )


def _nearest(values: Tensor, index: Tensor, least: float | None = None) -> tuple[Tensor, Tensor]:
    """Return row and distance of the nearest neighbour of each image beyond ``least`` times its norm."""
    rows, distances = [], []
    for first in range(0, len(values), _AT_ONCE):
        block = values[first : first + _AT_ONCE]
        block_distances = torch.cdist(block, index)
        if least is not None:
            block_distances[block_distances <= least * block.norm(dim=1, keepdim=True)] = torch.inf
        nearest = block_distances.argmin(1)
        rows.append(nearest)
        # recomputed, since cdist's matrix product cancels the digits of small distances
        exact = (block - index[nearest]).norm(dim=1)
        is_alone = block_distances.amin(1).isinf()  # there is no other image
        distances.append(torch.where(is_alone, torch.nan, exact))
    return torch.cat(rows), torch.cat(distances)
