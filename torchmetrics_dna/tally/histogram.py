"""Tallies of histograms: within given bounds, or on grids that grow with the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch import distributed as dist
from typing_extensions import override

from torchmetrics_dna.binning import add_counts_, bins_within
from torchmetrics_dna.binning.extremes import activation_extremes, by_layer, split_extremes, unless_refused
from torchmetrics_dna.binning.histogram import check_num_bins
from torchmetrics_dna.binning.self_ranging import Grid, dyadic_grid, regrid_
from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.neurons.ranges import ActivationRanges
from torchmetrics_dna.tally.base import DNATally, Field, Side
from torchmetrics_dna.tally.nonfinite import read_tail, screened

if TYPE_CHECKING:
    from torchmetrics_dna.binning.layouts import Parts
    from torchmetrics_dna.extractors import DNAExtractor


class HistogramTally(DNATally[HistogramDNA]):
    """Counts within given bounds.

    Args:
        extractor: Gives names and neurons.
        num_bins: Bins of each neuron.
        ranges: Of the extractor's neurons.

    """

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
    def add_(self, side: Side, parts: Parts, num_images: int) -> None:
        counts = side["counts"]
        if self._bins.centre.device != counts.device:
            self._bins = self._bins.to(counts.device)
        with screened(counts[self._cells :], parts, num_images) as accepted:
            add_counts_(counts[: self._cells].view(-1, self.num_bins), parts, self._bins, accepted)

    @override
    def value(self, side: Side) -> HistogramDNA:
        counts = side["counts"]
        per_neuron = counts[: self._cells].view(-1, self.num_bins)
        num_images = read_tail(counts[self._cells :], self.neurons)
        return HistogramDNA(per_neuron, self.neurons, self.ranges, num_images, **self.origin)


class SelfRangingTally(DNATally[HistogramDNA]):
    """Counts on grids that grow with the data, ``ranges="auto"``.

    Beside the counts, a side keeps each neuron's extremes as ``(-minimum, maximum)``, from which its grid follows.

    Args:
        extractor: Gives names and neurons.
        num_bins: Bins of each neuron, at least 2.

    """

    kind = HistogramDNA.kind
    additive = False

    def __init__(self, extractor: DNAExtractor, num_bins: int) -> None:
        check_num_bins(num_bins, least=2)
        super().__init__(extractor, num_bins=num_bins, ranges="auto")
        self.num_bins = num_bins

    @property
    @override
    def fields(self) -> dict[str, Field]:
        return {
            "counts": Field(self.neurons.total * self.num_bins + len(self.neurons) + 1, torch.int64, 0),
            "extremes": Field(2 * self.neurons.total, torch.float64, -torch.inf),
        }

    @override
    def add_(self, side: Side, parts: Parts, num_images: int) -> None:
        extremes = activation_extremes(parts)
        with screened(self._tail(side), by_layer(extremes, self.neurons), num_images) as accepted:
            grid = self._widen(side, unless_refused(extremes, accepted))
            add_counts_(self._counts(side), parts, grid.bins(self.num_bins), accepted)

    @override
    def merge_(self, side: Side, other: Side) -> None:
        device = side["counts"].device
        theirs = {name: tensor.to(device, copy=True) for name, tensor in other.items()}
        self._widen(side, theirs["extremes"])
        self._widen(theirs, side["extremes"])
        side["counts"] += theirs["counts"]

    @override
    def all_reduce_(self, side: Side, group: Any = None) -> None:
        extremes = side["extremes"].clone()
        dist.all_reduce(extremes, op=dist.ReduceOp.MAX, group=group)
        self._widen(side, extremes)
        dist.all_reduce(side["counts"], group=group)

    @override
    def value(self, side: Side) -> HistogramDNA:
        minimum, maximum = split_extremes(side["extremes"])
        seen = minimum <= maximum  # without images, the range of nothing stands for none
        ranges = ActivationRanges(
            torch.where(seen, minimum, 0), torch.where(seen, maximum, 0), self.neurons, "auto", "auto"
        )
        num_images = read_tail(self._tail(side), self.neurons)
        return HistogramDNA(self._counts(side), self.neurons, ranges, num_images, **self.origin)

    def _counts(self, side: Side) -> Tensor:
        return side["counts"][: self.neurons.total * self.num_bins].view(-1, self.num_bins)

    def _tail(self, side: Side) -> Tensor:
        return side["counts"][self.neurons.total * self.num_bins :]

    def _widen(self, side: Side, extremes: Tensor) -> Grid:
        """Move a side to the grid that also holds other extremes."""
        united = torch.maximum(side["extremes"], extremes)
        old = dyadic_grid(*split_extremes(side["extremes"]), self.num_bins)
        new = dyadic_grid(*split_extremes(united), self.num_bins)
        regrid_(self._counts(side), old, new)
        side["extremes"].copy_(united)
        return new


def histogram_tally(extractor: DNAExtractor, num_bins: int, ranges: Any = None) -> HistogramTally | SelfRangingTally:
    """The tally for an argument ``ranges``: ActivationRanges, a path, ``"auto"``, or None for the usual ones."""
    resolved = extractor.resolve_ranges(ranges)
    if resolved is None:
        return SelfRangingTally(extractor, num_bins)
    return HistogramTally(extractor, num_bins, resolved)
