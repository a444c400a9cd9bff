"""Numbers that describe inputs other than images, such as their mean.

They correspond to the properties of images. Single inputs are flagged as outliers if their numbers differ from those of
other inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchmetrics_dna.images.inputs import tensors_of
from torchmetrics_dna.images.properties import BANDS, Fault, Property, in_percent, log, log_odds
from torchmetrics_dna.registry import Registry

NUMBERS = "numbers"
# Maximum number of axes along which values have neighbours. These are the last axes, such as the three of a volume.
GRID = 3
# Approximate number of values in which the most frequent value is searched. Sorting more values would take longer than
# all other numbers.
_SAMPLE = 2**16


class Values:
    """Values of the largest tensor of one input.

    Args:
        inputs: The input, without the batch axis.
        axes: Maximum number of axes along which values have neighbours. These are the last axes.

    Attributes:
        grid: All values, float64. Complex numbers are replaced by their absolute value.
        axes: Axes along which values have neighbours, as negative numbers.
        flat: Finite values, ``(n,)``. If there are none, a single 0.
        spread: Standard deviation of the finite values.

    """

    def __init__(self, inputs: Any, axes: int = GRID) -> None:
        largest = max(tensors_of(inputs), key=Tensor.numel)
        if largest.is_complex():
            largest = largest.abs()
        self.grid = largest.detach().cpu().double()
        last_axes = range(-1, -1 - min(axes, self.grid.ndim), -1)
        self.axes = [axis for axis in last_axes if self.grid.shape[axis] > 1]
        self.flat = self.grid[self.grid.isfinite()]
        if not len(self.flat):
            self.flat = torch.zeros(1).double()
        self.spread = float(self.flat.std(correction=0))


def _lower_bound_of_share(count: int, num_values: int) -> float:
    """Return a lower bound for the share of ``count`` among all values.

    The count is decreased by two standard errors, because a small number of equal values may be due to chance.
    """
    return max(0.0, count - 2 * math.sqrt(count)) / num_values


def _mean(values: Values) -> float:
    return float(values.flat.mean())


def _spread(values: Values) -> float:
    return values.spread


def _smallest(values: Values) -> float:
    return float(values.flat.min())


def _largest(values: Values) -> float:
    return float(values.flat.max())


def _share_of_zeros(values: Values) -> float:
    num_zeros = int((values.flat == 0).sum())
    return _lower_bound_of_share(num_zeros, len(values.flat))


def _share_of_most_frequent(values: Values) -> float:
    # Make the step odd: an even step could select the same column of each row, if the width is a power of two.
    step = len(values.flat) // _SAMPLE | 1
    sample = values.flat[::step]
    _, counts = torch.unique(sample, return_counts=True)
    return _lower_bound_of_share(int(counts.max()), len(sample))


def _roughness(values: Values) -> float:
    """Compute the mean absolute difference between neighbours, in standard deviations of the values."""
    if not values.axes or not values.spread:
        return 0.0
    steps = [values.grid.diff(dim=axis).abs().flatten() for axis in values.axes]
    return float(torch.cat(steps).nanmean()) / values.spread


def _difference_of_halves(values: Values, axis: int) -> float:
    """Compute the mean of the first half along an axis minus that of the second half, in standard deviations."""
    if axis not in values.axes or not values.spread:
        return 0.0
    first, second = values.grid.tensor_split(2, axis)
    return float(first.nanmean() - second.nanmean()) / values.spread


def _unchanged(values: Tensor) -> Tensor:
    return values


def _record(
    name: str,
    measure: Callable[[Values], float],
    tails: Callable[[Tensor], Tensor] | None = None,
    least: float = 0.1,
    written: Callable[[float], str] | None = None,
) -> Property:
    """Return the registry entry of a number. A much larger or smaller number than that of other inputs is a fault."""
    larger = Fault(least, "has", f"a larger {name}", " than all of {}")
    smaller = Fault(least, "has", f"a smaller {name}", " than all of {}")
    return Property(name, name, measure, written, tails=tails, higher=larger, lower=smaller)


_share = partial(_record, tails=log_odds(0.05), least=0.2, written=in_percent)
# Shift for a logarithm, which avoids the logarithm of 0.
_TINY = 1e-12
#: All numbers by name. Numbers without ``tails`` are compared in units of the deviation within a typical input.
RECORDS = Registry(
    "number",
    (
        _record("mean", _mean),
        _record("spread", _spread, log(_TINY)),
        _record("smallest value", _smallest),
        _record("largest value", _largest),
        _share("share of zeros", _share_of_zeros),
        _share("share of its most frequent value", _share_of_most_frequent),
        _record("roughness", _roughness, log(_TINY)),
        *(
            _record(f"difference of halves along axis {axis}", partial(_difference_of_halves, axis=axis), _unchanged)
            for axis in range(-1, -1 - GRID, -1)
        ),
    ),
)
#: All faults, by the name of the number and the sign of the difference.
FAULTS = {name: fault for record in RECORDS.values() for name, fault in record.faults.items()}


def input_numbers(inputs: Any, axes: int) -> Tensor:
    """Compute the numbers that describe the largest tensor of one input.

    Args:
        inputs: The input without the batch axis.
        axes: Maximum number of axes along which values have an order, and thus neighbours and halves. These are the
            last axes.

    Returns:
        One number for each entry of ``RECORDS``, float64.

    Example:
        >>> dict(zip(RECORDS, input_numbers(torch.tensor([[0.0, 0.0], [0.0, 4.0]]), 2).tolist(), strict=True))["mean"]
        1.0

    """
    values = Values(inputs, axes)
    numbers = [float(record.measure(values)) for record in RECORDS.values()]
    return torch.tensor(numbers, dtype=torch.float64)


def number_note(inputs: Any, axes: int = GRID) -> dict[str, Tensor]:
    """Return the numbers that describe one input as a note of a job."""
    return {NUMBERS: input_numbers(inputs, axes)}


def band_note(inputs: Any, bands: int) -> dict[str, Tensor]:
    """Return the mean and the standard deviation of each band of one input as a note of a job.

    Values that are not finite are left out. Without finite values, both numbers of a band are NaN. If the input has
    another number of bands than ``bands``, all numbers are NaN.

    Args:
        inputs: The input. Bands are the last axis of an image ``(H, W, C)``, or else the first axis of the largest
            tensor. A uint8 image is divided by 255.
        bands: Number of bands.

    """
    numbers = torch.full((bands, 2), torch.nan, dtype=torch.float64)
    tensor = _with_bands_first(inputs)
    if len(tensor) == bands:
        for row, band in zip(numbers, tensor, strict=True):
            row[0], row[1] = _mean_and_deviation(band)
    return {BANDS: numbers.flatten()}


def _with_bands_first(inputs: Any) -> Tensor:
    """Return the tensor of an input that has bands, with the bands as its first axis, see :func:`band_note`."""
    if isinstance(inputs, np.ndarray):
        white = 255 if inputs.dtype == np.uint8 else 1
        return torch.from_numpy(np.moveaxis(inputs, -1, 0) / white)
    return max(tensors_of(inputs), key=Tensor.numel)


def _mean_and_deviation(band: Tensor) -> tuple[float, float]:
    """Return the mean and the standard deviation of the finite values of a band. Both are NaN if there are none."""
    if not band.isfinite().any():
        return math.nan, math.nan
    values = Values(band)
    return _mean(values), values.spread
