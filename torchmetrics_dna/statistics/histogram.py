"""Statistics of histograms: within given bounds, or on grids that grow with the data."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.binning import Activations, Bins, FoldCounts, add_counts_, bins_within
from torchmetrics_dna.binning.activations import split_extremes
from torchmetrics_dna.binning.histogram import check_num_bins
from torchmetrics_dna.binning.self_ranging import Grid, dyadic_grid, regrid_
from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.neurons.ranges import ActivationRanges
from torchmetrics_dna.statistics.base import DNAStatistic, Origin, State

if TYPE_CHECKING:
    from torchmetrics_dna.extractors import DNAExtractor

# Largest number of bins of folds: enough for tests, and twenty folds take only twice the memory of the whole.
_MOST_BINS_OF_FOLDS = 100


class _Histograms(DNAStatistic[HistogramDNA]):
    """Base class of statistics of histograms; those of folds have fewer bins, unions of those of the whole."""

    kind = HistogramDNA.kind
    tensor = "counts"
    dtype = torch.int64

    def __init__(self, extractor: DNAExtractor, num_bins: int, ranges: Any, num_folds: int | None) -> None:
        check_num_bins(num_bins)
        super().__init__(extractor, num_folds, num_bins=num_bins, ranges=ranges)
        self.num_bins = num_bins
        few = _MOST_BINS_OF_FOLDS
        divisors = [bins for bins in range(few // 4, few + 1) if num_bins % bins == 0]
        self.bins_of_fold = num_bins if num_bins <= few or not divisors else divisors[-1]
        self.cells = self.neurons.total * num_bins
        self.fold_size = self.neurons.total * self.bins_of_fold
        self.size = self.cells

    def add_counts_(
        self, state: State, activations: Activations, bins: Bins, bins_of_fold: Bins, keys: Tensor | None
    ) -> None:
        """Count a batch, and each of its images in its fold."""
        folds = None if keys is None else FoldCounts(self._of_folds(state), bins_of_fold, keys)
        add_counts_(self._counts(state), activations, bins, folds)
        self.count_images_(state, activations, keys)

    @override
    def fold_of(self, whole: HistogramDNA, numbers: Tensor, num_images: int) -> HistogramDNA:
        return replace(whole, counts=numbers.view(-1, self.bins_of_fold), num_images=num_images)

    def _counts(self, state: State) -> Tensor:
        return self.numbers(state).whole[: self.cells].view(-1, self.num_bins)

    def _of_folds(self, state: State) -> Tensor:
        """Return the counts of the folds, ``(num_folds, N, bins)``."""
        return self.numbers(state).folds.view(self.num_folds or 0, self.neurons.total, self.bins_of_fold)


class HistogramStatistic(_Histograms):
    """Histograms within the bounds of activation ranges of the extractor's neurons."""

    def __init__(
        self, extractor: DNAExtractor, num_bins: int, ranges: ActivationRanges, num_folds: int | None = None
    ) -> None:
        super().__init__(extractor, num_bins, ranges, num_folds)
        self.ranges = ranges
        self._bins = [bins_within(*ranges.bounds(), bins) for bins in (num_bins, self.bins_of_fold)]

    @override
    def add_(self, state: State, activations: Activations, keys: Tensor | None = None) -> None:
        device = activations.device
        # The bins stay on this device for the next batch.
        if self._bins[0].centre.device != device:
            self._bins = [bins.to(device) for bins in self._bins]
        bins, bins_of_fold = self._bins
        self.add_counts_(state, activations, bins, bins_of_fold, keys)

    @override
    def dna_of(self, state: State, num_images: int, origin: Origin) -> HistogramDNA:
        return HistogramDNA(self._counts(state), self.neurons, self.ranges, num_images, **origin)


class SelfRangingStatistic(_Histograms):
    """Histograms on grids that grow with the data, ``ranges="auto"``.

    A state has, after the counts of all images, the extremes of each neuron as ``(-minimum, maximum)``, float64, as the
    bits of int64. They determine its grids: that of the whole, and the coarser one of all folds, whose bins are unions
    of those. Without images they mean nothing.
    """

    aligned_by = "max"

    def __init__(self, extractor: DNAExtractor, num_bins: int, num_folds: int | None = None) -> None:
        super().__init__(extractor, num_bins, "auto", num_folds)
        self.size = self.cells + 2 * self.neurons.total

    @override
    def add_(self, state: State, activations: Activations, keys: Tensor | None = None) -> None:
        extremes = activations.extremes
        activations.check(wait=False)
        grid, grid_of_folds = self._widen(state, extremes)
        self.add_counts_(state, activations, grid.bins(self.num_bins), grid_of_folds.bins(self.bins_of_fold), keys)

    @override
    def merge_(self, state: State, earlier: State) -> None:
        theirs = {self.tensor: earlier[self.tensor].to(state[self.tensor].device, copy=True)}
        self._widen(state, self._extremes(theirs))
        self._widen(theirs, self._extremes(state))
        for part in (slice(self.cells), slice(self.size, None)):
            state[self.tensor][part].add_(theirs[self.tensor][part])

    @override
    def to_align(self, state: State) -> Tensor:
        return self._extremes(state)

    @override
    def align_(self, state: State, common: Tensor, is_first: bool) -> None:
        self._widen(state, common)
        if not is_first:
            self._stored(state).zero_()

    @override
    def dna_of(self, state: State, num_images: int, origin: Origin) -> HistogramDNA:
        ends = split_extremes(self._stored(state))
        minimum, maximum = (end + 0.0 if num_images else torch.zeros_like(end) for end in ends)
        ranges = ActivationRanges(minimum, maximum, self.neurons, "auto", "auto")
        return HistogramDNA(self._counts(state), self.neurons, ranges, num_images, **origin)

    def _stored(self, state: State) -> Tensor:
        """Return the extremes in a state, as a view, ``(2 * N,)``."""
        return self.numbers(state).whole[self.cells :].view(torch.float64)

    def _extremes(self, state: State) -> Tensor:
        """Return the extremes of the images of a state; -inf without images."""
        return torch.where(self.numbers(state).images > 0, self._stored(state), -torch.inf)

    def _widen(self, state: State, extremes: Tensor) -> tuple[Grid, Grid]:
        """Widen the grids of a state in place to hold these extremes, and return them: of all images, and of folds."""
        own = self._extremes(state)
        united = torch.maximum(own, extremes) + 0.0  # not -0.0, of other bits
        is_filled = own.device.type != "cpu" or self.numbers(state).images > 0
        grids = []
        of_folds = [*self._of_folds(state)]
        for num_bins, histograms in ((self.num_bins, [self._counts(state)]), (self.bins_of_fold, of_folds)):
            old, new = (dyadic_grid(*split_extremes(ends), num_bins) for ends in (own, united))
            if is_filled:
                for counts in histograms:
                    regrid_(counts, old, new)
            grids.append(new)
        self._stored(state).copy_(united)
        return grids[0], grids[1]
