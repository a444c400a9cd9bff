"""Nearest neighbours of images in an index, to find copies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torchmetrics_dna.dna.identity import Identity, check_same
from torchmetrics_dna.images.likeness import likeness
from torchmetrics_dna.statistics.setup import identity_beside

if TYPE_CHECKING:
    from torchmetrics_dna.dna.features import Features
    from torchmetrics_dna.extractors import DNAExtractor

# Likeness from which an image is called a copy.
ALIKE = 0.97
# Likeness from which an image is called near: a variant, such as the same drawing in other colours.
NEAR = 0.9
# Without pictures, an image is called a copy below this ratio of distances.
COPY = 0.5
ALONE = "One image has no others to compare it with; pass more images (15 or more to flag outliers), or a reference"
# Number of nearest images whose pictures are compared.
_CANDIDATES = 6
# Rows of an index are the same image up to this distance, in norms: rounding.
_SAME = 1e-3
# Number of images that are compared at a time. For an index of 10,000 images, their distances take 40 MB.
_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class Nearest:
    """Nearest image in an index for each of B images.

    Attributes:
        names: Names of the nearest images.
        distances: Euclidean distances of spatial means, float32, shape ``(B,)``.
        ratios: Distances divided by the distance of the nearest image to its own nearest neighbour in the index that
            is another image; NaN if there is none. Usual values are about 1 or more; far below 1, an image is a likely
            copy.
        likeness: ``torchmetrics_dna.images.likeness`` to the nearest image, float32, shape ``(B,)``; None
            without pictures, NaN of plain ones.

    """

    names: list[str]
    distances: Tensor
    ratios: Tensor
    likeness: Tensor | None = None

    @property
    def copies(self) -> Tensor:
        """True for copies: compressed, resized, noisy, mirrored or cropped by a fifth; bool, shape ``(B,)``."""
        if self.likeness is None:
            return (self.ratios < COPY) | (self.distances == 0)
        return (self.likeness >= ALIKE) | (self.distances == 0)

    @property
    def near(self) -> Tensor:
        """True for images that are near without being copies, such as the same drawing in another colour."""
        if self.likeness is None:
            return torch.zeros_like(self.copies)
        return ~self.copies & ((self.likeness >= NEAR) | (self.ratios < COPY))

    @property
    def kinds(self) -> list[str]:
        """Each image in a word: ``"copy"``, ``"near"`` or an empty string."""
        kinds = []
        for is_copy, is_near in zip(self.copies.tolist(), self.near.tolist(), strict=True):
            if is_copy:
                kinds.append("copy")
            elif is_near:
                kinds.append("near")
            else:
                kinds.append("")
        return kinds

    def take(self, order: Tensor) -> Nearest:
        """Return the entries of these images, in this order."""
        likeness = None if self.likeness is None else self.likeness[order]
        return Nearest([self.names[i] for i in order.tolist()], self.distances[order], self.ratios[order], likeness)


def find_nearest(features: Features, index: Features, themselves: Tensor | None) -> Nearest:
    """Find the nearest image in an index for each image, by Euclidean distance of their features.

    If both have pictures, the pictures of the nearest ones are compared, and one that is near by its picture is
    preferred.

    Args:
        features: Features of the images.
        index: Features of the images of the index.
        themselves: Rows of the images in the index if they are in it, ``(B,)``, so that no image is its own neighbour;
            else None.

    Raises:
        ValueError: If the index has no other image.

    """
    count = min(_CANDIDATES, index.num_images - (themselves is not None))
    if not count:
        raise ValueError(ALONE)
    candidates, distances = _nearest(features.values, index.values, count, themselves=themselves)
    # Column of the candidate of each image that is chosen. Candidates are in the order of their distances.
    chosen = torch.zeros_like(candidates[:, :1])
    likeness_to_chosen = None
    if features.pictures is not None and index.pictures is not None:
        likenesses = _likenesses(features.pictures, index.pictures, candidates)
        is_near = likenesses >= NEAR
        ranks = likenesses.masked_fill(~is_near, -1)
        # Prefer the nearest image, unless another one is near by its picture.
        ranks[:, 0].clamp_(min=-0.5)
        chosen = ranks.argmax(1, keepdim=True)
        likeness_to_chosen = likenesses.gather(1, chosen)[:, 0]
    neighbours = candidates.gather(1, chosen)[:, 0]
    distances_to_chosen = distances.gather(1, chosen)[:, 0]
    # Distance of each neighbour to its own nearest neighbour in the index.
    different_neighbours = torch.unique(neighbours)
    _, spacings = _nearest(index.values[different_neighbours], index.values, least=_SAME)
    spacing_of_rows = torch.full((index.num_images,), torch.nan)
    spacing_of_rows[different_neighbours] = spacings[:, 0]
    ratios = distances_to_chosen / spacing_of_rows[neighbours]
    names = index.names or [f"image {number}" for number in range(index.num_images)]
    names_of_neighbours = [names[neighbour] for neighbour in neighbours.tolist()]
    return Nearest(names_of_neighbours, distances_to_chosen, ratios, likeness_to_chosen)


def _likenesses(pictures: Tensor, pictures_of_index: Tensor, candidates: Tensor) -> Tensor:
    """Return the likeness of each picture to those of its candidates, rows of the index; ``(B, candidates)``."""
    rows = torch.arange(len(pictures)).repeat_interleave(candidates.shape[1])
    blocks_of_rows = torch.split(rows, _AT_ONCE)
    blocks_of_candidates = torch.split(candidates.flatten(), _AT_ONCE)
    likenesses = []
    for rows_of_block, candidates_of_block in zip(blocks_of_rows, blocks_of_candidates, strict=True):
        likenesses.append(likeness(pictures[rows_of_block], pictures_of_index[candidates_of_block]))
    return torch.cat(likenesses).view(candidates.shape)


def check_index(index: Features, extractor: DNAExtractor) -> None:
    """Raise ValueError unless an index has images, and is of this extractor's last layer."""
    if not index.num_images:
        raise ValueError(f"The index of images expected to hold images, but got {index!r}")
    check_same(
        "The index of images does not fit",
        Identity.of(**index.origin, layers=list(index.neurons)),
        identity_beside(index, extractor).with_settings({"layers": list(extractor.neurons)[-1:]}),
        remedy="; make it anew with this extractor and these layers",
    )


def _nearest(
    values: Tensor, index: Tensor, count: int = 1, *, least: float | None = None, themselves: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return rows and distances of the nearest of each image, ``(images, count)``, beyond ``least`` times its norm."""
    rows = []
    distances = []
    for first in range(0, len(values), _AT_ONCE):
        block = values[first : first + _AT_ONCE]
        block_distances = torch.cdist(block, index)
        if least is not None:
            block_distances[block_distances <= least * block.norm(dim=1, keepdim=True)] = torch.inf
        if themselves is not None:
            block_distances[torch.arange(len(block)), themselves[first : first + len(block)]] = torch.inf
        nearest = block_distances.topk(count, dim=1, largest=False).indices
        # Distances are recomputed, since cdist uses a matrix product, which loses digits of small distances by
        # cancellation.
        exact = (block[:, None] - index[nearest]).norm(dim=2)
        # A row that was excluded above is no other image.
        exact[block_distances.gather(1, nearest).isinf()] = torch.nan
        order = exact.argsort(dim=1, stable=True)
        rows.append(nearest.gather(1, order))
        distances.append(exact.gather(1, order))
    return torch.cat(rows), torch.cat(distances)
