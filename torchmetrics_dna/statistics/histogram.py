"""Statistics whose values are histograms: within given bounds, or on grids that grow with the data."""

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

# Largest number of bins of folds. It is enough for tests. With 1,000 bins for all images, twenty folds take twice the
# memory of the histogram of all images.
_MOST_BINS_OF_FOLDS = 100


class _Histograms(DNAStatistic[HistogramDNA]):
    """Base class of statistics whose values are histograms.

    The histograms of folds may have fewer bins than that of all images. Each bin of a fold is then a union of bins of
    the histogram of all images.
    """

    kind = HistogramDNA.kind
    tensor = "counts"
    dtype = torch.int64

    def __init__(self, extractor: DNAExtractor, num_bins: int, ranges: Any, num_folds: int | None) -> None:
        check_num_bins(num_bins)
        super().__init__(extractor, num_folds, num_bins=num_bins, ranges=ranges)
        self.num_bins = num_bins
        self.bins_of_fold = _num_bins_of_folds(num_bins)
        self.cells = self.neurons.total * num_bins
        self.fold_size = self.neurons.total * self.bins_of_fold
        self.size = self.cells

    def add_counts_(
        self, state: State, activations: Activations, bins: Bins, bins_of_fold: Bins, keys: Tensor | None
    ) -> None:
        """Count the activations of a batch, for all images together and, if there are folds, for each fold."""
        folds = None
        if keys is not None:
            folds = FoldCounts(self._counts_of_folds(state), bins_of_fold, keys)
        add_counts_(self._counts(state), activations, bins, folds)
        self.count_images_(state, activations, keys)

    @override
    def fold_of(self, whole: HistogramDNA, numbers: Tensor, num_images: int) -> HistogramDNA:
        return replace(whole, counts=numbers.view(-1, self.bins_of_fold), num_images=num_images)

    def _counts(self, state: State) -> Tensor:
        """Return the counts of all images, as a view, ``(N, num_bins)``."""
        return self.numbers(state).whole[: self.cells].view(-1, self.num_bins)

    def _counts_of_folds(self, state: State) -> Tensor:
        """Return the counts of the folds, as a view, ``(num_folds, N, bins)``."""
        return self.numbers(state).folds.view(self.num_folds or 0, self.neurons.total, self.bins_of_fold)


def _num_bins_of_folds(num_bins: int) -> int:
    """Return the number of bins of folds: the largest divisor of ``num_bins`` from 25 to 100, or else ``num_bins``."""
    if num_bins <= _MOST_BINS_OF_FOLDS:
        return num_bins
    for bins in range(_MOST_BINS_OF_FOLDS, _MOST_BINS_OF_FOLDS // 4 - 1, -1):
        if num_bins % bins == 0:
            return bins
    return num_bins


class HistogramStatistic(_Histograms):
    """Histograms within the bounds that activation ranges determine."""

    def __init__(
        self, extractor: DNAExtractor, num_bins: int, ranges: ActivationRanges, num_folds: int | None = None
    ) -> None:
        super().__init__(extractor, num_bins, ranges, num_folds)
        self.ranges = ranges
        low, high = ranges.bounds()
        self._bins = bins_within(low, high, num_bins)
        self._bins_of_fold = bins_within(low, high, self.bins_of_fold)

    @override
    def add_(self, state: State, activations: Activations, keys: Tensor | None = None) -> None:
        device = activations.device
        # The moved bins are stored for the next batch.
        if self._bins.centre.device != device:
            self._bins = self._bins.to(device)
            self._bins_of_fold = self._bins_of_fold.to(device)
        self.add_counts_(state, activations, self._bins, self._bins_of_fold, keys)

    @override
    def dna_of(self, state: State, num_images: int, origin: Origin) -> HistogramDNA:
        return HistogramDNA(self._counts(state), self.neurons, self.ranges, num_images, **origin)


class SelfRangingStatistic(_Histograms):
    """Histograms on grids that grow with the data, ``ranges="auto"``.

    In a state, the extremes of each neuron follow the counts of all images. They are ``(-minimum, maximum)``, float64,
    with their bits stored as int64. The extremes determine two grids: one for all images together, and a coarser grid
    for the folds. Each bin of the coarser grid is a union of bins of the finer grid. Without images, the extremes have
    no meaning.
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
        tensor = state[self.tensor]
        earlier_tensor = earlier[self.tensor].to(tensor.device, copy=True)
        earlier = {self.tensor: earlier_tensor}
        self._widen(state, self._extremes(earlier))
        self._widen(earlier, self._extremes(state))
        # The extremes lie between the counts of all images and those of folds, and must not be added.
        tensor[: self.cells].add_(earlier_tensor[: self.cells])
        tensor[self.size :].add_(earlier_tensor[self.size :])

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
        minimum, maximum = split_extremes(self._stored(state))
        if num_images:
            # Adding 0 makes a copy, and turns -0.0 into 0.0.
            minimum = minimum + 0.0
            maximum = maximum + 0.0
        else:
            minimum = torch.zeros_like(minimum)
            maximum = torch.zeros_like(maximum)
        ranges = ActivationRanges(minimum, maximum, self.neurons, "auto", "auto")
        return HistogramDNA(self._counts(state), self.neurons, ranges, num_images, **origin)

    def _stored(self, state: State) -> Tensor:
        """Return a view of the extremes in a state, ``(2 * N,)``, float64."""
        return self.numbers(state).whole[self.cells :].view(torch.float64)

    def _extremes(self, state: State) -> Tensor:
        """Return the extremes of the images of a state; -inf without images."""
        return torch.where(self.numbers(state).images > 0, self._stored(state), -torch.inf)

    def _widen(self, state: State, extremes: Tensor) -> tuple[Grid, Grid]:
        """Widen the grids of a state in place, so that they include these extremes.

        Returns:
            The grid of all images, and the grid of the folds.

        """
        old_extremes = self._extremes(state)
        # Adding 0 turns -0.0 into 0.0, which has other bits.
        new_extremes = torch.maximum(old_extremes, extremes) + 0.0
        grid = _grid_of(new_extremes, self.num_bins)
        grid_of_folds = _grid_of(new_extremes, self.bins_of_fold)
        # Without images, there are no counts to move. On a device, reading the number of images would be a sync.
        may_have_images = old_extremes.device.type != "cpu" or bool(self.numbers(state).images > 0)
        if may_have_images:
            regrid_(self._counts(state), _grid_of(old_extremes, self.num_bins), grid)
            old_grid_of_folds = _grid_of(old_extremes, self.bins_of_fold)
            for counts in self._counts_of_folds(state):
                regrid_(counts, old_grid_of_folds, grid_of_folds)
        self._stored(state).copy_(new_extremes)
        return grid, grid_of_folds


def _grid_of(extremes: Tensor, num_bins: int) -> Grid:
    """Return the finest grid that includes the extremes ``(-minimum, maximum)``, ``(2 * N,)``."""
    minimum, maximum = split_extremes(extremes)
    return dyadic_grid(minimum, maximum, num_bins)
