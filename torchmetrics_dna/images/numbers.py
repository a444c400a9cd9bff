"""Numbers of inputs that are no images: named figures, by which single inputs are odd beside others."""

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
GRID = 3  # axes at most, the last ones, along which values have neighbours
_SAMPLE = 2**16  # values at most among which the most frequent one is looked for


class Values:
    """Finite values of one input without the batch axis, float64: those of its largest tensor."""

    def __init__(self, inputs: Any, axes: int = GRID) -> None:
        largest = max(tensors_of(inputs), key=Tensor.numel)
        self.grid = (largest.abs() if largest.is_complex() else largest).detach().cpu().double()
        self.axes = [axis for axis in range(-1, -1 - min(axes, self.grid.ndim), -1) if self.grid.shape[axis] > 1]
        self.flat = self.grid[self.grid.isfinite()] if self.grid.isfinite().any() else torch.zeros(1).double()
        self.spread = float(self.flat.std(correction=0))


def _surely(count: int, of: Tensor) -> float:
    """Return a share, less two standard errors of the count: among few values, one may be 0 by chance."""
    return max(0.0, count - 2 * math.sqrt(count)) / len(of)


def _most_frequent(of: Values) -> float:
    sample = of.flat[:: len(of.flat) // _SAMPLE | 1]
    return _surely(int(torch.unique(sample, return_counts=True)[1].max()), sample)


def _roughness(of: Values) -> float:
    """Compute the mean step between neighbours, in deviations."""
    steps = [of.grid.diff(dim=axis).abs().flatten() for axis in of.axes]
    return float(torch.cat(steps).nanmean()) / of.spread if steps and of.spread else 0.0


def _halves(of: Values, axis: int) -> float:
    """Compute the difference of their means, in deviations."""
    if axis not in of.axes or not of.spread:
        return 0.0
    first, second = of.grid.tensor_split(2, axis)
    return float(first.nanmean() - second.nanmean()) / of.spread


def _record(
    name: str,
    measure: Callable[[Values], float],
    tails: Callable[[Tensor], Tensor] | None = None,
    least: float = 0.1,
    written: Callable[[float], str] | None = None,
) -> Property:
    more, less = (Fault(least, f"has a {which} {name} than any of {{}}") for which in ("larger", "smaller"))
    return Property(name, name, measure, written, tails=tails, higher=more, lower=less)


_share = partial(_record, tails=log_odds(0.05), least=0.2, written=in_percent)
#: All numbers by name. Those without ``tails`` are positions, which are judged in deviations of a typical input.
RECORDS = Registry(
    "number",
    (
        _record("mean", lambda of: float(of.flat.mean())),
        _record("spread", lambda of: of.spread, log(1e-12)),
        _record("smallest value", lambda of: float(of.flat.min())),
        _record("largest value", lambda of: float(of.flat.max())),
        _share("share of zeros", lambda of: _surely(int((of.flat == 0).sum()), of.flat)),
        _share("share of its most frequent value", _most_frequent),
        _record("roughness", _roughness, log(1e-12)),
        *(
            _record(f"difference of halves along axis {axis}", partial(_halves, axis=axis), lambda values: values)
            for axis in range(-1, -1 - GRID, -1)
        ),
    ),
)
#: Faults by number and sign.
FAULTS = {name: fault for record in RECORDS.values() for name, fault in record.faults.items()}


def input_numbers(inputs: Any, axes: int) -> Tensor:
    """Measure the numbers of one input without the batch axis: float64, one of each of ``RECORDS``.

    Its largest tensor counts, of which so many of the last ``axes`` have an order, with neighbours and halves.

    Example:
        >>> dict(zip(RECORDS, input_numbers(torch.tensor([[0.0, 0.0], [0.0, 4.0]]), 2).tolist(), strict=True))["mean"]
        1.0

    """
    of = Values(inputs, axes)
    return torch.tensor([float(record.measure(of)) for record in RECORDS.values()], dtype=torch.float64)


def number_note(inputs: Any, axes: int = GRID) -> dict[str, Tensor]:
    """Return the numbers of one input as a note of a job."""
    return {NUMBERS: input_numbers(inputs, axes)}


def band_note(inputs: Any, bands: int) -> dict[str, Tensor]:
    """Return mean and deviation of each band of one input as a note of a job; NaN if it has not so many.

    Bands are the first axis of the largest tensor, or the last of an image ``(H, W, C)``, of which bytes are divided by
    255. Values that are not finite are left out.
    """
    if isinstance(inputs, np.ndarray):
        inputs = torch.from_numpy(np.moveaxis(inputs, -1, 0) / (255 if inputs.dtype == np.uint8 else 1))
    tensor, numbers = max(tensors_of(inputs), key=Tensor.numel), torch.full((bands, 2), torch.nan).double()
    for row, band in zip(numbers, tensor if len(tensor) == bands else (), strict=False):
        if band.isfinite().any():
            of = Values(band)
            row[0], row[1] = of.flat.mean(), of.spread
    return {BANDS: numbers.flatten()}
