"""Statistics of histograms: within given bounds, or on grids that grow with the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.binning import add_counts_, bins_within
from torchmetrics_dna.binning.counting import compiled_for
from torchmetrics_dna.binning.extremes import (
    activation_extremes,
    by_layer,
    image_extremes,
    split_extremes,
)
from torchmetrics_dna.binning.histogram import check_num_bins
from torchmetrics_dna.binning.self_ranging import Grid, dyadic_grid, regrid_
from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.neurons.ranges import ActivationRanges
from torchmetrics_dna.statistics.base import DNAStatistic, Field, State
from torchmetrics_dna.statistics.nonfinite import read_tail, screened

if TYPE_CHECKING:
    from torchmetrics_dna.binning import Bins
    from torchmetrics_dna.binning.layouts import Parts
    from torchmetrics_dna.extractors import DNAExtractor


class HistogramStatistic(DNAStatistic[HistogramDNA]):
    """Histograms within the bounds of activation ranges of the extractor's neurons."""

    kind = HistogramDNA.kind

    def __init__(self, extractor: DNAExtractor, num_bins: int, ranges: ActivationRanges) -> None:
        check_num_bins(num_bins)
        super().__init__(extractor, num_bins=num_bins, ranges=ranges)
        self.num_bins = num_bins
        self.ranges = ranges
        self._bins = bins_within(*ranges.bounds(), num_bins)
        self._cells = self.neurons.total * num_bins

    @property
    @override
    def fields(self) -> dict[str, Field]:
        return {"counts": Field(self._cells + len(self.neurons) + 1, torch.int64, 0)}

    @override
    def add_(self, state: State, parts: Parts, num_images: int, finite: Tensor | None = None) -> None:
        counts = state["counts"]
        bins = self._bins_on(counts.device)
        with screened(self.tail(state), parts, num_images, finite) as accepted:
            add_counts_(counts[: self._cells].view(-1, self.num_bins), parts, bins, accepted)

    @override
    def add_each_(self, states: State, parts: Parts, keys: Tensor, finite: Tensor | None = None) -> None:
        compiled = compiled_for(parts, self.num_bins)
        if not compiled:
            super().add_each_(states, parts, keys, finite)
            return
        counts = states["counts"]
        per_neuron = counts[:, : self._cells].view(len(counts), -1, self.num_bins)
        compiled.add_counts_by_key_(per_neuron, parts, self._bins_on(counts.device), torch.zeros_like(keys), keys)
        counts[:, -1] += keys.bincount(minlength=len(counts))

    def _bins_on(self, device: torch.device) -> Bins:
        """Return the bins on a device, where they stay for the next batch."""
        if self._bins.centre.device != device:
            self._bins = self._bins.to(device)
        return self._bins

    @override
    def value(self, state: State) -> HistogramDNA:
        counts = state["counts"]
        per_neuron = counts[: self._cells].view(-1, self.num_bins)
        num_images = read_tail(self.tail(state), self.neurons)
        return HistogramDNA(per_neuron, self.neurons, self.ranges, num_images, **self.origin)

    @override
    def tail(self, state: State) -> Tensor:
        return state["counts"][self._cells :]


class SelfRangingStatistic(DNAStatistic[HistogramDNA]):
    """Histograms on grids that grow with the data, ``ranges="auto"``.

    Beside the counts, a state has the extremes of each neuron as ``(-minimum, maximum)``, which
    determine its grid.
    """

    kind = HistogramDNA.kind

    def __init__(self, extractor: DNAExtractor, num_bins: int) -> None:
        check_num_bins(num_bins)
        super().__init__(extractor, num_bins=num_bins, ranges="auto")
        self.num_bins = num_bins

    @property
    @override
    def fields(self) -> dict[str, Field]:
        return {
            "counts": Field(self.neurons.total * self.num_bins + len(self.neurons) + 1, torch.int64, 0),
            "extremes": Field(2 * self.neurons.total, torch.float64, -torch.inf, "max"),
        }

    @override
    def add_(self, state: State, parts: Parts, num_images: int, finite: Tensor | None = None) -> None:
        extremes = activation_extremes(parts)
        with screened(self.tail(state), by_layer(extremes, self.neurons), num_images, finite) as accepted:
            found = extremes if accepted is None else torch.where(accepted > 0, extremes, -torch.inf)
            grid = self._widen(state, found)
            add_counts_(self._counts(state), parts, grid.bins(self.num_bins), accepted)

    @override
    def add_each_(self, states: State, parts: Parts, keys: Tensor, finite: Tensor | None = None) -> None:
        compiled = compiled_for(parts, self.num_bins)
        if not compiled:
            super().add_each_(states, parts, keys, finite)
            return
        of_images, counts = image_extremes(parts), self._counts(states)
        present, rows = keys.unique(return_inverse=True)  # type: ignore[no-untyped-call]
        previous = states["extremes"][present]
        united = torch.stack([of_images[rows == row].amax(0) for row in range(len(present))]).maximum(previous)
        old, new = (dyadic_grid(*split_extremes(extremes), self.num_bins) for extremes in (previous, united))
        for row, key in enumerate(present):
            regrid_(counts[key], old.take(row), new.take(row))
        states["extremes"][present] = united
        compiled.add_counts_by_key_(counts, parts, new.flat().bins(self.num_bins), rows, keys)
        states["counts"][:, -1] += keys.bincount(minlength=len(counts))

    @override
    def merge_(self, state: State, other: State) -> None:
        device = state["counts"].device
        theirs = {name: tensor.to(device, copy=True) for name, tensor in other.items()}
        self._widen(state, theirs["extremes"])
        self._widen(theirs, state["extremes"])
        state["counts"] += theirs["counts"]

    @override
    def align_(self, state: State, before: State) -> None:
        old, new = (dyadic_grid(*split_extremes(each["extremes"]), self.num_bins) for each in (before, state))
        regrid_(self._counts(state), old, new)

    @override
    def value(self, state: State) -> HistogramDNA:
        minimum, maximum = split_extremes(state["extremes"])
        has_values = minimum <= maximum  # without images, ranges are 0 to 0
        ranges = ActivationRanges(
            torch.where(has_values, minimum, 0), torch.where(has_values, maximum, 0), self.neurons, "auto", "auto"
        )
        num_images = read_tail(self.tail(state), self.neurons)
        return HistogramDNA(self._counts(state), self.neurons, ranges, num_images, **self.origin)

    def _counts(self, state: State) -> Tensor:
        """Return the counts of a state, or of several, ``(..., N, num_bins)``."""
        counts = state["counts"][..., : self.neurons.total * self.num_bins]
        return counts.view(*counts.shape[:-1], -1, self.num_bins)

    @override
    def tail(self, state: State) -> Tensor:
        return state["counts"][self.neurons.total * self.num_bins :]

    def _widen(self, state: State, extremes: Tensor) -> Grid:
        """Widen the grid of a state in place to hold these extremes, and return it."""
        united = torch.maximum(state["extremes"], extremes)
        old = dyadic_grid(*split_extremes(state["extremes"]), self.num_bins)
        new = dyadic_grid(*split_extremes(united), self.num_bins)
        regrid_(self._counts(state), old, new)
        state["extremes"].copy_(united)
        return new


def histogram_statistic(
    extractor: DNAExtractor, num_bins: int, ranges: Any = None
) -> HistogramStatistic | SelfRangingStatistic:
    """Return the statistic for these ranges: ActivationRanges, a path, ``"auto"``, or None for the default."""
    resolved = extractor.resolve_ranges(ranges)
    if resolved is None:
        return SelfRangingStatistic(extractor, num_bins)
    return HistogramStatistic(extractor, num_bins, resolved)
