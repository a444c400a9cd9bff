"""Compute the bin of an activation, by one formula for fixed bounds and for grids that grow with the data."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# The reference implementation adds this margin, so that bins of neurons with constant activations have a width.
HALF_WIDTH_MARGIN = 1e-8


class Bins(NamedTuple):
    """The bins of each neuron: x is in ``clamp(floor(((x - centre) / scale + offset) * factor) - first, 0, B - 1)``.

    The formula is computed in float64 and in this order. Another order would round activations that lie exactly on an
    edge into the bin below. Within fixed bounds, the formula is Eq. (1) and (2) of the paper.

    Attributes:
        centre: Centre of the bounds, ``(N,)``, float64; 0 on a grid.
        scale: Half the width of the bounds, or the width of a bin on a grid, ``(N,)``, float64.
        first: Number of the first bin on a grid, ``(N,)``, float64; 0 within bounds.
        offset: 1 within bounds; 0 on a grid.
        factor: Number of bins per ``scale``.
        num_bins: Number of bins, B.

    """

    centre: Tensor
    scale: Tensor
    first: Tensor
    offset: float
    factor: float
    num_bins: int

    def take(self, rows: Tensor | slice) -> Bins:
        """Return the bins of some neurons."""
        return self._replace(centre=self.centre[rows], scale=self.scale[rows], first=self.first[rows])

    def to(self, device: torch.device) -> Bins:
        """Return the same bins on another device."""
        return self._replace(centre=self.centre.to(device), scale=self.scale.to(device), first=self.first.to(device))

    def numbers(self, values: Tensor) -> Tensor:
        """Return the bin of each value, int64, ``(n, values)``, for values of n neurons, ``(n, ...)``."""
        scaled = values.to(torch.float64, copy=True, memory_format=torch.contiguous_format).flatten(1)
        scaled.sub_(self.centre[:, None]).div_(self.scale[:, None]).add_(self.offset).mul_(self.factor)
        scaled.floor_().sub_(self.first[:, None])
        # One clamp at the end gives the same bin as clamping z first, with two passes fewer.
        return scaled.clamp_(0, self.num_bins - 1).to(torch.int64)


def bins_within(low: Tensor, high: Tensor, num_bins: int, margin: float = HALF_WIDTH_MARGIN) -> Bins:
    """Return equal bins between lower and upper bounds, ``(N,)`` each. The margin is added to half the span.

    Example:
        >>> bins = bins_within(torch.tensor([-1.0]), torch.tensor([1.0]), num_bins=4)
        >>> bins.numbers(torch.tensor([[-5.0, -0.1, 0.0, 1.0]]))
        tensor([[0, 1, 2, 3]])

    """
    low = low.double()
    high = high.double()
    half_width = (high - low) / 2 + margin
    return Bins((low + high) / 2, half_width, torch.zeros_like(low), 1.0, num_bins / 2, num_bins)


def check_bounds(low: Tensor, high: Tensor) -> None:
    """Raise ValueError with the first neuron whose bounds are swapped or not finite, if there is one."""
    is_wrong = ~((low <= high) & low.isfinite() & high.isfinite())
    if is_wrong.any():
        neuron = int(is_wrong.nonzero()[0])
        raise ValueError(
            f"Argument `low` expected to be at most `high`, both finite, but neuron {neuron} has"
            f" {float(low[neuron])} and {float(high[neuron])}; pass the lower bounds first"
        )
