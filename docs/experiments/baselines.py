"""The baselines of section 5.1: other ways to rank single pictures by their distance to a reference.

Pictures are uint8 ``(B, 3, height, width)``, activations what an extractor gives for them.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torchmetrics.functional.image import structural_similarity_index_measure


def pixel_distances(pictures: Tensor, reference: Tensor) -> Tensor:
    """L2 of each pair of pictures, ``(pictures, reference)``."""
    return torch.cdist(pictures.flatten(1).float(), reference.flatten(1).float())


def ssim_distances(pictures: Tensor, reference: Tensor) -> Tensor:
    """1 - SSIM of each pair of grey pictures, ``(pictures, reference)``."""
    grey, reference_grey = (images.float().mean(1, keepdim=True) / 255 for images in (pictures, reference))
    similarity = partial(structural_similarity_index_measure, data_range=1.0, reduction="none")
    return 1 - torch.stack([similarity(one.expand_as(reference_grey), reference_grey) for one in grey])


def perceptual_vectors(activations: dict[str, Tensor]) -> Tensor:
    """Normalise all layers at each position and join them: ``(B, values)``, whose squares sum to 1."""
    layers = [
        normalize(x, dim=1).flatten(1) / (len(activations) * x[0, 0].numel()) ** 0.5 for x in activations.values()
    ]
    return torch.cat(layers, 1)


def perceptual_distances(vectors: Tensor, reference: Tensor) -> Tensor:
    """Perceptual loss of each pair: LPIPS without its learned weights, the squared difference of unit vectors."""
    return 2 - 2 * vectors @ reference.T


def rarity(features: Tensor, reference: Tensor, k: int) -> Tensor:
    """Rarity (Han et al. 2022): the smallest radius among the reference's k-neighbour spheres that hold the picture."""
    radii = torch.cdist(reference, reference).kthvalue(min(k + 1, len(reference))).values  # the nearest is itself
    held = torch.cdist(features, reference) <= radii
    return torch.where(held, radii, 2 * radii.max()).amin(1)  # rarest of all: what no sphere holds
