"""The minimum and maximum of each neuron, in one tensor that grows by a maximum alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from torchmetrics_dna.binning.histogram import check_finite
from torchmetrics_dna.binning.layouts import placed
from torchmetrics_dna.extras import optional

if TYPE_CHECKING:
    from torch import Tensor

    from torchmetrics_dna.binning.layouts import Parts


def activation_extremes(parts: Parts) -> Tensor:
    """``(-minimum, maximum)`` of each neuron, float64, shape ``(2 * N,)``.

    Args:
        parts: Activations of some images after others, each ``{layer: (B, n, *positions)}``, none of them empty.

    Raises:
        ValueError: If a value is not finite.

    Example:
        >>> activation_extremes([{"head": torch.tensor([[1.0, 5.0], [3.0, -2.0]])}]).tolist()
        [-1.0, 2.0, 3.0, 5.0]

    """
    fast = optional("binning.cpu") if all(layer.numel() for _, layer in placed(parts)) else None
    found: Tensor
    if fast and fast.covers(parts):
        found = fast.extremes(parts)
    else:
        found = torch.stack([torch.cat([_of_layer(layer) for layer in part.values()], 1) for part in parts]).amax(0)
    # they are, exactly if all values are
    check_finite([{layer: found[:, here] for layer, (here, _) in zip(parts[0], placed(parts[:1]), strict=True)}])
    return found.flatten()


def _of_layer(values: Tensor) -> Tensor:
    others = (0, *range(2, values.ndim))
    return torch.stack([-values.amin(others).double(), values.amax(others).double()])


def split_extremes(extremes: Tensor) -> tuple[Tensor, Tensor]:
    """Minimum and maximum, each ``(N,)``; the maximum is a view."""
    negated_minimum, maximum = extremes.chunk(2)
    return -negated_minimum, maximum
