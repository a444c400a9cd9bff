"""The smallest and largest activation of each neuron, as one tensor that grows by a maximum alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from torchmetrics_dna.binning.histogram import check_finite

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


def activation_extremes(activations: Mapping[str, Tensor]) -> Tensor:
    """``(-minimum, maximum)`` of each neuron, float64, shape ``(2 * N,)``.

    Args:
        activations: ``{layer: (B, n, *positions)}``.

    Raises:
        ValueError: If a value is not finite.

    Example:
        >>> activation_extremes({"head": torch.tensor([[1.0, 5.0], [3.0, -2.0]])}).tolist()
        [-1.0, 2.0, 3.0, 5.0]

    """
    ends = {}
    for layer, values in activations.items():
        others = (0, *range(2, values.ndim))
        ends[layer] = torch.stack([values.amin(others), values.amax(others)]).double()
    check_finite(ends)  # they are, exactly if all values are
    minimum, maximum = torch.cat(list(ends.values()), 1)
    return torch.cat([-minimum, maximum])


def split_extremes(extremes: Tensor) -> tuple[Tensor, Tensor]:
    """Minimum and maximum, each ``(N,)``; the maximum is a view."""
    negated_minimum, maximum = extremes.chunk(2)
    return -negated_minimum, maximum
