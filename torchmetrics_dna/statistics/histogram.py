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


class SelfRangingStatistic(DNAStatistic[HistogramDNA]):
    """Histograms on grids that grow with the data, ``ranges="auto"``.

    A state has, between the counts and its tail, the extremes of each neuron as ``(-minimum, maximum)``, which
    determine its grid: float64, as the bits of int64. Without images they mean nothing.
    """

    kind = HistogramDNA.kind
    shared_by = "max"

    def __init__(self, extractor: DNAExtractor, num_bins: int) -> None:
        check_num_bins(num_bins)
        super().__init__(extractor, num_bins=num_bins, ranges="auto")
        self.num_bins = num_bins
        self._cells = self.neurons.total * num_bins

    @property
    @override
    def fields(self) -> dict[str, Field]:
        size = self._cells + 2 * self.neurons.total + len(self.neurons) + 1
        return {"counts": Field(size, torch.int64, reduction=self.merged)}

    @override
    def add_(self, state: State, parts: Parts, num_images: int, finite: Tensor | None = None) -> None:
        extremes = activation_extremes(parts)
        with screened(self.tail(state), by_layer(extremes, self.neurons), num_images, finite) as accepted:
            counted = extremes if accepted is None else torch.where(accepted > 0, extremes, -torch.inf)
            grid = self._widen(state, counted)
            add_counts_(self._counts(state), parts, grid.bins(self.num_bins), accepted)

    @override
    def add_each_(self, states: State, parts: Parts, keys: Tensor, finite: Tensor | None = None) -> None:
        compiled = compiled_for(parts, self.num_bins)
        if not compiled:
            super().add_each_(states, parts, keys, finite)
            return
        of_images, counts = image_extremes(parts), self._counts(states)
        present, rows = keys.unique(return_inverse=True)  # type: ignore[no-untyped-call]
        previous = self._extremes(states)[present]
        united = torch.stack([of_images[rows == row].amax(0) for row in range(len(present))]).maximum(previous) + 0.0
        old, new = (self._grid(extremes) for extremes in (previous, united))
        for row, key in enumerate(present):
            regrid_(counts[key], old.take(row), new.take(row))
        self._stored(states)[present] = united
        compiled.add_counts_by_key_(counts, parts, new.flat().bins(self.num_bins), rows, keys)
        states["counts"][:, -1] += keys.bincount(minlength=len(counts))

    @override
    def merge_(self, state: State, earlier: State) -> None:
        theirs = {"counts": earlier["counts"].to(state["counts"].device, copy=True)}
        self._widen(state, self._extremes(theirs))
        self._widen(theirs, self._extremes(state))
        self._counts(state).add_(self._counts(theirs))
        self.tail(state).add_(self.tail(theirs))

    @override
    def shared(self, state: State) -> Tensor:
        return self._extremes(state)

    @override
    def align_(self, state: State, shared: Tensor, is_first: bool) -> None:
        self._widen(state, shared)
        if not is_first:
            self._stored(state).zero_()

    @override
    def value(self, state: State) -> HistogramDNA:
        minimum, maximum = split_extremes(self._extremes(state))
        has_values = minimum <= maximum  # without images, ranges are 0 to 0
        ranges = ActivationRanges(
            torch.where(has_values, minimum + 0.0, 0), torch.where(has_values, maximum, 0), self.neurons, "auto", "auto"
        )
        num_images = read_tail(self.tail(state), self.neurons)
        return HistogramDNA(self._counts(state), self.neurons, ranges, num_images, **self.origin)

    def _counts(self, state: State) -> Tensor:
        """Return the counts of a state, or of several, ``(..., N, num_bins)``."""
        counts = state["counts"][..., : self._cells]
        return counts.view(*counts.shape[:-1], -1, self.num_bins)

    def _stored(self, state: State) -> Tensor:
        """Return the extremes in a state, or in several, as a view, ``(..., 2 * N)``."""
        return state["counts"][..., self._cells : self._cells + 2 * self.neurons.total].view(torch.float64)

    def _extremes(self, state: State) -> Tensor:
        """Return the extremes of the images of a state, or of several; -inf without images."""
        return torch.where(state["counts"][..., -1:] > 0, self._stored(state), -torch.inf)

    def _grid(self, extremes: Tensor) -> Grid:
        return dyadic_grid(*split_extremes(extremes), self.num_bins)

    def _widen(self, state: State, extremes: Tensor) -> Grid:
        """Widen the grid of a state in place to hold these extremes, and return it."""
        own = self._extremes(state)
        united = torch.maximum(own, extremes) + 0.0  # not -0.0, of other bits
        new = self._grid(united)
        regrid_(self._counts(state), self._grid(own), new)
        self._stored(state).copy_(united)
        return new


def histogram_statistic(
    extractor: DNAExtractor, num_bins: int, ranges: Any = None
) -> HistogramStatistic | SelfRangingStatistic:
    """Return the statistic for these ranges: ActivationRanges, a path, ``"auto"``, or None for the default."""
    resolved = extractor.resolve_ranges(ranges)
    if resolved is None:
        return SelfRangingStatistic(extractor, num_bins)
    return HistogramStatistic(extractor, num_bins, resolved)
