"""Moments of each neuron's spatial means, the statistics of the paper's Gaussian DNA."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch

from torchmetrics_dna.binning.histogram import check_finite
from torchmetrics_dna.binning.layouts import chunks
from torchmetrics_dna.extras import optional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from torchmetrics_dna.binning.layouts import Parts


def add_moments_(moments: Tensor, parts: Parts, accepted: Tensor | None = None) -> None:
    """Add the moments of all layers in place; bad activations change nothing.

    Args:
        moments: Sums and sums of squares, over images, of each neuron's spatial mean (section 3.1 of the paper), shape
            ``(2, N)``, layers concatenated. In float64, the variance computed from them is accurate to about 1e-11 of
            the squared mean.
        parts: Consecutive parts of a batch, each ``{layer: (B, n, *positions)}`` in the same order.
        accepted: 1 if the activations are finite, else 0, a tensor on their device; avoids a device sync.

    Raises:
        ValueError: If a value is not finite, unless ``accepted`` is given.

    """
    if accepted is None:
        check_finite(parts)
    by_layer = [spatial_means([part[layer] for part in parts]) for layer in parts[0]]
    sums = torch.cat([torch.stack([means.sum(1), means.square().sum(1)]) for means in by_layer], dim=1)
    moments += sums if accepted is None else torch.where(accepted > 0, sums, 0.0)


def spatial_means(pieces: Sequence[Tensor]) -> Tensor:
    """Average over positions, float64, shape ``(n, B)``, for consecutive parts of a batch, ``(b, n, *positions)``."""
    fast = optional("binning.cpu") if all(piece.numel() for piece in pieces) else None
    if fast and fast.covers([{"activations": piece} for piece in pieces]):
        return cast("Tensor", fast.spatial_means(pieces))
    return torch.cat([_plain_means(piece) for piece in pieces], 1)


def _plain_means(activations: Tensor) -> Tensor:
    images, neurons = activations.shape[:2]
    means = activations.new_empty((neurons, images), dtype=torch.float64)
    first = 0
    for rows, values in chunks(activations):
        means[rows, first : first + values.shape[1]] = values.double().mean(2)
        first = (first + values.shape[1]) % max(1, images)
    return means
