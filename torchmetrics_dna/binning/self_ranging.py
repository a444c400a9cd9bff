"""Self-ranging histograms: bin widths are powers of two, bin edges multiples of them.

The grid of a neuron depends only on its smallest and largest activation, and its bins are unions of those of any finer
grid. So counts depend on the data only, not on batch size, order or process.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from torchmetrics_dna.binning.bins import Bins

# Number of bits below the largest activation. A smaller spread counts as constant.
_FINEST = 40
# Number of counts regridded at a time: 8 MiB of int64.
_CELLS = 1 << 20
# Exponent for neurons that are always 0, below the resolution of float32.
_LEAST_EXPONENT = -160


class Grid(NamedTuple):
    """Bins ``[(start + k) * 2**exponent, (start + k + 1) * 2**exponent)`` of each neuron, k from 0; int64, ``(N,)``."""

    exponent: Tensor
    start: Tensor

    @property
    def width(self) -> Tensor:
        """Bin widths, shape ``(N,)``, float64."""
        return _power_of_two(self.exponent)

    def bins(self, num_bins: int) -> Bins:
        """Return the bins in which activations are counted."""
        return Bins(torch.zeros_like(self.width), self.width, self.start.double(), 0.0, 1.0, num_bins)

    def flat(self) -> Grid:
        """Return the grids of several sets of neurons as one."""
        return Grid(self.exponent.flatten(), self.start.flatten())

    def take(self, rows: Tensor | slice | int) -> Grid:
        """Select the grid of a subset of neurons, or of one of several sets."""
        return Grid(self.exponent[rows], self.start[rows])


def dyadic_grid(minimum: Tensor, maximum: Tensor, num_bins: int) -> Grid:
    """Return the finest grid that covers each neuron's activations, in 2 bins or more, since one edge is always at 0.

    Minimum and maximum have shape ``(N,)``, float64; without activations they are inf and -inf.

    Example:
        >>> dyadic_grid(torch.tensor([0.0, -1.0]).double(), torch.tensor([6.0, 1.0]).double(), num_bins=8)
        Grid(exponent=tensor([ 0, -1]), start=tensor([ 0, -2]))

    """
    has_activations = minimum <= maximum
    low = torch.where(has_activations, minimum, 0.0)
    high = torch.where(has_activations, maximum, 0.0)
    # If span / num_bins is in [2**(e-1), 2**e), bins of width 2**e may be wide enough, and bins of 2**(e+2) always are.
    # The search begins at e - 1, since the division rounds.
    exponent = torch.maximum(_exponent_of((high - low) / num_bins) - 1, _finest_exponent(low, high))
    for _ in range(3):
        too_many = _index(high, exponent) - _index(low, exponent) >= num_bins
        exponent = exponent + too_many.long()
    return Grid(exponent, _index(low, exponent).long())


def bounds_of(minimum: Tensor, maximum: Tensor) -> tuple[Tensor, Tensor]:
    """Return the bounds of neurons of these ranges: the span grows by 20 %, or to two of the finest bins if it is less.

    The margin of 1e-8 that fixed bounds have is not added. Activations may be far smaller than it, or so large that it
    is lost in rounding.

    Example:
        >>> bounds_of(torch.tensor([0.0, 0.0]).double(), torch.tensor([5.0, 0.0]).double())
        (tensor([-5.0000e-01, -6.8423e-49], dtype=torch.float64), tensor([5.5000e+00, 6.8423e-49], dtype=torch.float64))

    """
    centre = (minimum + maximum) / 2
    finest = _power_of_two(_finest_exponent(minimum, maximum))
    half_width = torch.maximum((maximum - minimum) * 0.6, finest)
    return centre - half_width, centre + half_width


def regrid_(counts: Tensor, old: Grid, new: Grid) -> None:
    """Move counts, shape ``(N, num_bins)``, to a coarser or shifted grid, in place and exactly."""
    # Larger shifts are undefined. A shift by 62 gives 0 or -1 for any index.
    shifts = (new.exponent - old.exponent).clamp(0, 62)
    num_bins = counts.shape[1]
    step = max(1, _CELLS // num_bins)
    offsets = torch.arange(num_bins, device=counts.device)
    changed = torch.arange(len(counts), device=counts.device)
    # On a device, selecting the rows that change would be a sync.
    if counts.device.type == "cpu":
        changed = changed[(shifts > 0) | (old.start != new.start)]
    for rows in torch.split(changed, step):
        bins = ((old.start[rows, None] + offsets) >> shifts[rows, None]) - new.start[rows, None]
        # Bins outside of the new grid are empty, so clamping moves no counts.
        moved = torch.zeros_like(counts[rows]).scatter_add_(1, bins.clamp_(0, num_bins - 1), counts[rows])
        counts[rows] = moved


def _exponent_of(values: Tensor) -> Tensor:
    """Return e with ``2**(e-1) <= value < 2**e``, int64; hugely negative for 0."""
    return torch.where(values > 0, torch.frexp(values).exponent.long(), -(2**20))


def _finest_exponent(low: Tensor, high: Tensor) -> Tensor:
    """Return the exponent of the narrowest bin for activations between these ends."""
    return (_exponent_of(torch.maximum(low.abs(), high.abs())) - _FINEST).clamp(min=_LEAST_EXPONENT)


def _power_of_two(exponent: Tensor) -> Tensor:
    """Compute ``2**exponent`` exactly, float64, which ``torch.pow`` does not guarantee."""
    return ((exponent + 1023) << 52).view(torch.float64)


def _index(values: Tensor, exponent: Tensor) -> Tensor:
    """Return the index of the multiple of ``2**exponent`` at or below each value, float64."""
    return (values * _power_of_two(-exponent)).floor()
