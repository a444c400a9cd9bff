"""Histograms that find their own ends: bin widths are powers of two, bin edges multiples of them.

The grid of a neuron follows from its smallest and largest activation alone, and a coarser grid holds every edge of
a finer one that covers less. So the counts depend on the data only, not on batch size, order or process.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from torchmetrics_dna.binning.bins import Bins
from torchmetrics_dna.extras import optional

_FINEST = 40  # bits below the largest activation; what spreads less than that is a constant
_CELLS = 1 << 20  # of histograms that move at a time: 8 MiB of int64
_LEAST_EXPONENT = -160  # for neurons that are always 0; finer than float32 tells apart


class Grid(NamedTuple):
    """Bins ``[(start + k) * 2**exponent, (start + k + 1) * 2**exponent)`` of each neuron, k from 0.

    Attributes:
        exponent: Shape ``(N,)``, int64.
        start: Shape ``(N,)``, int64.

    """

    exponent: Tensor
    start: Tensor

    @property
    def width(self) -> Tensor:
        """Bin widths, shape ``(N,)``, float64."""
        return _power_of_two(self.exponent)

    def bins(self, num_bins: int) -> Bins:
        """Its bins, as activations are counted in."""
        return Bins(torch.zeros_like(self.width), self.width, self.start.double(), 0.0, 1.0, num_bins)

    def take(self, rows: Tensor | slice) -> Grid:
        """The grid of some neurons."""
        return Grid(self.exponent[rows], self.start[rows])


def dyadic_grid(minimum: Tensor, maximum: Tensor, num_bins: int) -> Grid:
    """The finest grid that holds each neuron's activations.

    Args:
        minimum: Smallest activation of each neuron, shape ``(N,)``, float64; infinite where none was seen.
        maximum: Largest activation, likewise.
        num_bins: How many bins there are; at least 2, since a bin edge at 0 can't be avoided.

    Example:
        >>> dyadic_grid(torch.tensor([0.0, -1.0]).double(), torch.tensor([6.0, 1.0]).double(), num_bins=8)
        Grid(exponent=tensor([ 0, -1]), start=tensor([ 0, -2]))

    """
    low, high = (torch.where(minimum <= maximum, end, 0.0) for end in (minimum, maximum))
    finest = _exponent_of(torch.maximum(low.abs(), high.abs())) - _FINEST
    # with span / num_bins in [2**(e-1), 2**e), bins of 2**e may do and of 2**(e+2) always do; one less for rounding
    exponent = torch.maximum(_exponent_of((high - low) / num_bins) - 1, finest).clamp(min=_LEAST_EXPONENT)
    for _ in range(3):
        too_many = _index(high, exponent) - _index(low, exponent) >= num_bins
        exponent = exponent + too_many.long()
    return Grid(exponent, _index(low, exponent).long())


def regrid_(counts: Tensor, old: Grid, new: Grid) -> None:
    """Move counts, shape ``(N, num_bins)``, from a grid to one that is coarser or shifted, in place and exactly."""
    # 62 is the largest shift that is defined, and leaves 0 of any index
    shifts = (new.exponent - old.exponent).clamp(0, 62)
    fast = optional("binning.cpu") if counts.device.type == "cpu" else None
    if fast:
        fast.regrid_(counts, old.start, shifts, new.start)
        return
    num_bins = counts.shape[1]
    step = max(1, _CELLS // num_bins)
    offsets = torch.arange(num_bins, device=counts.device)
    # all rows, also those that stay: to know which move, the host would wait for the device
    for rows in (slice(first, first + step) for first in range(0, len(counts), step)):
        bins = ((old.start[rows, None] + offsets) >> shifts[rows, None]) - new.start[rows, None]
        # bins that lie outside are empty, or the new grid would not hold the data
        moved = torch.zeros_like(counts[rows]).scatter_add_(1, bins.clamp_(0, num_bins - 1), counts[rows])
        counts[rows] = moved


def _exponent_of(values: Tensor) -> Tensor:
    """The e of ``2**(e-1) <= value < 2**e``, int64; hugely negative for 0."""
    return torch.where(values > 0, torch.frexp(values).exponent.long(), -(2**20))


def _power_of_two(exponent: Tensor) -> Tensor:
    """``2**exponent`` to the last bit, which ``torch.pow`` does not promise; float64."""
    return ((exponent + 1023) << 52).view(torch.float64)


def _index(values: Tensor, exponent: Tensor) -> Tensor:
    """Which multiple of ``2**exponent`` lies at or below, float64."""
    return (values * _power_of_two(-exponent)).floor()
