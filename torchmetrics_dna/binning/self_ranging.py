"""Self-ranging histograms: the width of a bin is a power of two, and its edges are multiples of the width.

The grid of a neuron depends only on its smallest and largest activation. Each bin of a grid is a union of bins of any
finer grid. So counts depend only on the data, not on batch size, order or process.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from torchmetrics_dna.binning.bins import Bins

# The narrowest bin is about 2**40 times narrower than the largest activation. A smaller spread is counted as constant.
_FINEST = 40
# Number of counts that are regridded at a time: 8 MiB of int64.
_CELLS = 1 << 20
# Smallest exponent of a bin's width, such as for neurons that are always 0. It is below the resolution of float32.
_LEAST_EXPONENT = -160


class Grid(NamedTuple):
    """The bins ``[(start + k) * 2**exponent, (start + k + 1) * 2**exponent)`` of each neuron, for k from 0.

    Attributes:
        exponent: Exponent of the bin width, int64, ``(N,)``.
        start: Number of the first bin, int64, ``(N,)``.

    """

    exponent: Tensor
    start: Tensor

    @property
    def width(self) -> Tensor:
        """Bin width of each neuron, ``(N,)``, float64."""
        return _power_of_two(self.exponent)

    def bins(self, num_bins: int) -> Bins:
        """Return this grid as :class:`Bins`, with this number of bins per neuron."""
        return Bins(torch.zeros_like(self.width), self.width, self.start.double(), 0.0, 1.0, num_bins)

    def flat(self) -> Grid:
        """Return the grids of several sets, ``(S, N)``, as one grid, ``(S * N,)``."""
        return Grid(self.exponent.flatten(), self.start.flatten())

    def take(self, rows: Tensor | slice | int) -> Grid:
        """Return the grid of some neurons, or of one of several sets."""
        return Grid(self.exponent[rows], self.start[rows])


def dyadic_grid(minimum: Tensor, maximum: Tensor, num_bins: int) -> Grid:
    """Return the finest grid whose bins cover the activations of each neuron.

    No bin extends across 0, because one edge is always at 0. So at least 2 bins are necessary.

    Args:
        minimum: Smallest activation of each neuron, ``(N,)``, float64; inf without activations.
        maximum: Largest activation of each neuron, ``(N,)``, float64; -inf without activations.
        num_bins: Number of bins, 2 or more.

    Example:
        >>> dyadic_grid(torch.tensor([0.0, -1.0]).double(), torch.tensor([6.0, 1.0]).double(), num_bins=8)
        Grid(exponent=tensor([ 0, -1]), start=tensor([ 0, -2]))

    """
    has_activations = minimum <= maximum
    low = torch.where(has_activations, minimum, 0.0)
    high = torch.where(has_activations, maximum, 0.0)
    # Let span / num_bins be in [2**(e-1), 2**e). Bins of width 2**e may be wide enough. Bins of width 2**(e+2) always
    # are. The search begins at e - 1, because the division rounds.
    exponent = torch.maximum(_exponent_of((high - low) / num_bins) - 1, _finest_exponent(low, high))
    for _ in range(3):
        too_many = _index(high, exponent) - _index(low, exponent) >= num_bins
        exponent = exponent + too_many.long()
    return Grid(exponent, _index(low, exponent).long())


def bounds_of(minimum: Tensor, maximum: Tensor) -> tuple[Tensor, Tensor]:
    """Return the bounds of neurons, whose span is 20% larger than that of their activations.

    The span is at least two of the finest bins. The margin of 1e-8 that fixed bounds have is not added: activations may
    be far smaller than the margin, or so large that the margin is lost in rounding.

    Example:
        >>> bounds_of(torch.tensor([0.0, 0.0]).double(), torch.tensor([5.0, 0.0]).double())
        (tensor([-5.0000e-01, -6.8423e-49], dtype=torch.float64), tensor([5.5000e+00, 6.8423e-49], dtype=torch.float64))

    """
    centre = (minimum + maximum) / 2
    finest = _power_of_two(_finest_exponent(minimum, maximum))
    half_width = torch.maximum((maximum - minimum) * 0.6, finest)
    return centre - half_width, centre + half_width


def regrid_(counts: Tensor, old: Grid, new: Grid) -> None:
    """Move counts to a coarser or shifted grid, in place and without rounding.

    Args:
        counts: Counts, ``(N, num_bins)``, int64.
        old: Grid of the counts.
        new: The new grid. It must cover all bins with counts.

    """
    # A right shift by more than 63 bits is undefined. A shift by 62 gives 0 or -1 for any index.
    shifts = (new.exponent - old.exponent).clamp(0, 62)
    num_bins = counts.shape[1]
    step = max(1, _CELLS // num_bins)
    offsets = torch.arange(num_bins, device=counts.device)
    changed = torch.arange(len(counts), device=counts.device)
    # On a device, selecting the rows that change would be a sync.
    if counts.device.type == "cpu":
        changed = changed[(shifts > 0) | (old.start != new.start)]
    for rows in torch.split(changed, step):
        numbers_on_old_grid = old.start[rows, None] + offsets
        numbers_on_new_grid = numbers_on_old_grid >> shifts[rows, None]
        new_bins = numbers_on_new_grid - new.start[rows, None]
        # Bins outside of the new grid are empty, so clamping moves no counts.
        new_bins.clamp_(0, num_bins - 1)
        old_counts = counts[rows]
        counts[rows] = torch.zeros_like(old_counts).scatter_add_(1, new_bins, old_counts)


def _exponent_of(values: Tensor) -> Tensor:
    """Return e with ``2**(e-1) <= value < 2**e`` for each value, int64; ``-(2**20)`` for 0."""
    return torch.where(values > 0, torch.frexp(values).exponent.long(), -(2**20))


def _finest_exponent(low: Tensor, high: Tensor) -> Tensor:
    """Return the exponent of the narrowest allowed bin for activations from ``low`` to ``high``."""
    return (_exponent_of(torch.maximum(low.abs(), high.abs())) - _FINEST).clamp(min=_LEAST_EXPONENT)


def _power_of_two(exponent: Tensor) -> Tensor:
    """Return ``2**exponent``, float64. The result is exact, unlike that of ``torch.pow``."""
    # A float64 consists of its exponent plus 1023, followed by the 52 bits of its fraction, which are 0 here.
    return ((exponent + 1023) << 52).view(torch.float64)


def _index(values: Tensor, exponent: Tensor) -> Tensor:
    """Return the index of the bin of width ``2**exponent`` that contains each value, float64; bin 0 begins at 0."""
    return (values * _power_of_two(-exponent)).floor()
