"""Nearest neighbours of images in an index, to detect copies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torchmetrics_dna.dna.identity import Identity, check_same
from torchmetrics_dna.images.likeness import likeness
from torchmetrics_dna.statistics.setup import identity_of_extractor

if TYPE_CHECKING:
    from torchmetrics_dna.dna.features import Features
    from torchmetrics_dna.extractors import DNAExtractor

# Least likeness of a copy.
ALIKE = 0.97
# Least likeness of an image that is near. It is a variant, such as the same drawing in other colours.
NEAR = 0.9
# If there are no pictures to compare, an image counts as a copy if the distance to its closest image is less than this
# part of the distance to the other images.
COPY = 0.5
ALONE = "One image has no others to compare it with; pass more images (15 or more to flag outliers), or a reference"
# Number of nearest images whose pictures are compared.
_CANDIDATES = 6
# Rows of an index are the same image up to this distance, relative to their norm. This allows for rounding errors.
_SAME = 1e-3
# Number of images that are compared at a time. Their distances to an index of 10,000 images take 40 MB.
_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class Nearest:
    """Nearest image in an index for each of B images.

    Attributes:
        names: Names of the nearest images.
        distances: Euclidean distances between the spatial means, float32, shape ``(B,)``.
        ratios: The distances, each divided by the distance of the nearest image to its own nearest neighbour among the
            other images of the index. NaN if the index has no other image. Usual values are about 1 or more. An image
            with a value far below 1 is likely a copy.
        likeness: Similarity of pictures to the nearest image, see ``torchmetrics_dna.images.likeness``, float32, shape
            ``(B,)``. NaN for low-texture pictures. None if images or index have no pictures.

    """

    names: list[str]
    distances: Tensor
    ratios: Tensor
    likeness: Tensor | None = None

    @property
    def copies(self) -> Tensor:
        """True for images that look like copies, bool, shape ``(B,)``.

        Copies may be compressed, resized, noisy, mirrored or cropped by a fifth.
        """
        if self.likeness is None:
            return (self.ratios < COPY) | (self.distances == 0)
        return (self.likeness >= ALIKE) | (self.distances == 0)

    @property
    def near(self) -> Tensor:
        """True for images that are near but no copies, such as the same drawing in another colour."""
        if self.likeness is None:
            return torch.zeros_like(self.copies)
        return ~self.copies & ((self.likeness >= NEAR) | (self.ratios < COPY))

    @property
    def kinds(self) -> list[str]:
        """Label of each image, ``"copy"``, ``"near"`` or an empty string."""
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
    """Find the nearest image in an index for each image, by the Euclidean distance between their features.

    If features and index have pictures, the pictures of the 6 nearest images are compared. If pictures of these are
    near, the image with the largest likeness is chosen. Otherwise, the nearest image is chosen.

    Args:
        features: Features of the images.
        index: Features of the images of the index.
        themselves: Row of each image in the index, ``(B,)``, so that no image is its own neighbour. None if the images
            are not in the index.

    Raises:
        ValueError: If the index has no other image.

    """
    num_others = index.num_images if themselves is None else index.num_images - 1
    if not num_others:
        raise ValueError(ALONE)
    num_candidates = min(_CANDIDATES, num_others)
    candidates, distances = _nearest(features.values, index.values, num_candidates, themselves=themselves)
    if features.pictures is None or index.pictures is None:
        # Candidates are in the order of their distances, so the first candidate is the nearest image.
        chosen = torch.zeros_like(candidates[:, :1])
        likeness_to_chosen = None
    else:
        likenesses = _likenesses(features.pictures, index.pictures, candidates)
        chosen = _most_similar(likenesses)
        likeness_to_chosen = likenesses.gather(1, chosen)[:, 0]
    neighbours = candidates.gather(1, chosen)[:, 0]
    distances_to_chosen = distances.gather(1, chosen)[:, 0]
    ratios = distances_to_chosen / _spacings(index.values, neighbours)
    names = index.names or [f"image {number}" for number in range(index.num_images)]
    names_of_neighbours = [names[neighbour] for neighbour in neighbours.tolist()]
    return Nearest(names_of_neighbours, distances_to_chosen, ratios, likeness_to_chosen)


def _most_similar(likenesses: Tensor) -> Tensor:
    """Return the column of the candidate with the largest likeness; the first column if no candidate is near.

    Args:
        likenesses: Likeness of each image to its candidates, ``(B, candidates)``. NaN counts as not near.

    Returns:
        The columns, ``(B, 1)``.

    """
    is_near = likenesses >= NEAR
    ranks = likenesses.masked_fill(~is_near, -1)
    # The first candidate ranks below candidates that are near, and above all others.
    ranks[:, 0].clamp_(min=-0.5)
    return ranks.argmax(1, keepdim=True)


def _spacings(index: Tensor, rows: Tensor) -> Tensor:
    """Return the distance of images of an index to their own nearest neighbours in the index; NaN for none.

    Args:
        index: Features of the images of the index, ``(images, n)``.
        rows: Rows of the images. Rows that occur several times are searched once.

    """
    unique_rows = torch.unique(rows)
    _, distances = _nearest(index[unique_rows], index, same_up_to=_SAME)
    spacing_of_rows = torch.full((len(index),), torch.nan)
    spacing_of_rows[unique_rows] = distances[:, 0]
    return spacing_of_rows[rows]


def _likenesses(pictures: Tensor, pictures_of_index: Tensor, candidates: Tensor) -> Tensor:
    """Return the likeness of each picture to the pictures of its candidates, ``(B, candidates)``.

    Args:
        pictures: Pictures of the images.
        pictures_of_index: Pictures of the images of the index.
        candidates: Rows of the candidates in the index, ``(B, candidates)``.

    """
    rows = torch.arange(len(pictures)).repeat_interleave(candidates.shape[1])
    blocks_of_rows = torch.split(rows, _AT_ONCE)
    blocks_of_candidates = torch.split(candidates.flatten(), _AT_ONCE)
    likenesses = []
    for rows_of_block, candidates_of_block in zip(blocks_of_rows, blocks_of_candidates, strict=True):
        likenesses.append(likeness(pictures[rows_of_block], pictures_of_index[candidates_of_block]))
    return torch.cat(likenesses).view(candidates.shape)


def check_index(index: Features, extractor: DNAExtractor) -> None:
    """Check that an index has images, and that its features are from this extractor's last layer.

    Raises:
        ValueError: If the index is empty, or if its features are from another extractor or layer.

    """
    if not index.num_images:
        raise ValueError(f"The index of images expected to hold images, but got {index!r}")
    check_same(
        "The index of images does not fit",
        Identity.of(**index.origin, layers=list(index.neurons)),
        identity_of_extractor(index, extractor).with_settings({"layers": list(extractor.neurons)[-1:]}),
        remedy="; make it anew with this extractor and these layers",
    )


def _nearest(
    values: Tensor, index: Tensor, count: int = 1, *, same_up_to: float | None = None, themselves: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Find the nearest rows of an index for each image.

    Args:
        values: Features of the images, ``(images, n)``.
        index: Features of the images of the index.
        count: Number of rows to find for each image.
        same_up_to: Rows up to this distance, relative to the norm of the image, count as the image itself and are left
            out. By default, no row is left out for its distance.
        themselves: Row of each image in the index, which is not its own neighbour; None if the images are not in it.

    Returns:
        The rows and their distances, each ``(images, count)``, the nearest first. A distance is NaN if there is no row.

    """
    rows = []
    distances = []
    for first in range(0, len(values), _AT_ONCE):
        block = values[first : first + _AT_ONCE]
        block_distances = torch.cdist(block, index)
        if same_up_to is not None:
            is_same = block_distances <= same_up_to * block.norm(dim=1, keepdim=True)
            block_distances[is_same] = torch.inf
        if themselves is not None:
            block_distances[torch.arange(len(block)), themselves[first : first + len(block)]] = torch.inf
        nearest = block_distances.topk(count, dim=1, largest=False).indices
        # Recompute the distances. cdist uses a matrix product, and cancellation makes small distances inexact.
        exact = (block[:, None] - index[nearest]).norm(dim=2)
        # Rows that were left out above have an infinite distance.
        is_left_out = block_distances.gather(1, nearest).isinf()
        exact[is_left_out] = torch.nan
        order = exact.argsort(dim=1, stable=True)
        rows.append(nearest.gather(1, order))
        distances.append(exact.gather(1, order))
    return torch.cat(rows), torch.cat(distances)
