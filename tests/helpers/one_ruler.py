"""Distances of single images to self-ranging references, counted by numpy in the bins of the references."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.binning.self_ranging import dyadic_grid

Rows = list[np.ndarray]  # the activations of each neuron, float64


def rows_of(extractor: DNAExtractor, images: Tensor) -> Rows:
    return [neuron.double().numpy().ravel() for layer in extractor(images).values() for neuron in layer.transpose(0, 1)]


def shares(rows: Rows, width: np.ndarray, start: np.ndarray, num_bins: int) -> np.ndarray:
    bins = [
        np.clip(np.floor(x / w) - s, 0, num_bins - 1).astype(int) for x, w, s in zip(rows, width, start, strict=True)
    ]
    counts = np.stack([np.bincount(row, minlength=num_bins) for row in bins])
    return counts.cumsum(1) / counts.sum(1, keepdims=True)


def distances(
    extractor: DNAExtractor, images: Tensor, references: list[Tensor], num_bins: int, pool: Tensor | None = None
) -> np.ndarray:
    """Return distances of each image and neuron to each reference and the pool, ``(S, B, N)``, on a common grid."""
    sides = [rows_of(extractor, side) for side in references]
    low, high = (np.array([end(np.concatenate(x)) for x in zip(*sides, strict=True)]) for end in (np.min, np.max))
    grid = dyadic_grid(torch.from_numpy(low), torch.from_numpy(high), num_bins)
    place = 2.0 ** grid.exponent.numpy(), grid.start.numpy(), num_bins
    span = np.array([x.max() - x.min() for x in sides[0]]) * 1.2 + 2e-8
    shares_of_sides = [shares(side, *place) for side in [*sides, *([] if pool is None else [rows_of(extractor, pool)])]]
    shares_of_images = [shares(rows_of(extractor, image[None]), *place) for image in images]
    differences = np.array(
        [
            [np.abs(image_shares - reference_shares).sum(1) for image_shares in shares_of_images]
            for reference_shares in shares_of_sides
        ]
    )
    return differences * (place[0] * num_bins / span)
