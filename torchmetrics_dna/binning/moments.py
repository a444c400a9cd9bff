"""Moments of each neuron's spatial means, the statistics of the paper's Gaussian DNA."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from torchmetrics_dna.binning.chunks import chunks
from torchmetrics_dna.binning.histogram import check_finite

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


def activation_moments(activations: Tensor) -> Tensor:
    """Sum and sum of squares, over images, of each neuron's spatial mean (section 3.1 of the paper).

    Args:
        activations: Shape ``(B, n, *positions)``, floating point.

    Returns:
        Shape ``(2, n)``, float64: sums, and sums of squares. In float64 the variance that follows from
        them is good to about 1e-11 of the squared mean; in float32 it would not be.

    Example:
        >>> activation_moments(torch.tensor([[[1.0, 3.0]], [[5.0, 5.0]]]))
        tensor([[ 7.],
                [29.]], dtype=torch.float64)

    """
    moments = activations.new_zeros((2, activations.shape[1]), dtype=torch.float64)
    for neurons, values in chunks(activations):
        means = values.double().mean(2)
        moments[0, neurons] += means.sum(1)
        moments[1, neurons] += means.square().sum(1)
    return moments


def add_moments_(moments: Tensor, activations: Mapping[str, Tensor]) -> None:
    """Add the moments of all layers to ``moments``, shape ``(2, N)``, in place; bad activations change nothing.

    Raises:
        ValueError: If a value is not finite.

    """
    check_finite(activations)
    moments += torch.cat([activation_moments(layer) for layer in activations.values()], dim=1)
