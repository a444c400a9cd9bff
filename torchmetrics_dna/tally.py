"""How activations add up to a DNA: what a running state holds, and how it grows, merges and is reduced.

A tally holds no state itself. The state of one set of images, its *side*, is a dict of flat tensors: metrics register
them with torchmetrics, ``measure`` keeps them in a variable. The last entry of the first tensor counts images.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist
from typing_extensions import override

from torchmetrics_dna.binning import add_counts_, add_moments_
from torchmetrics_dna.binning.cross_moments import (
    CrossMoments,
    add_cross_moments_,
    mean_and_covariance,
    merge_cross_moments_,
    recentre_,
)
from torchmetrics_dna.binning.histogram import check_finite, check_num_bins
from torchmetrics_dna.binning.self_ranging import Grid, count_on_grid_, dyadic_grid, regrid_
from torchmetrics_dna.dna import DNA, GaussianDNA, HistogramDNA, LayerGaussianDNA
from torchmetrics_dna.ranges import ActivationRanges

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torchmetrics_dna.extractors import DNAExtractor

Side = dict[str, Tensor]
_D = TypeVar("_D", bound=DNA)


class Field(NamedTuple):
    """One flat tensor of a side: how long, of which type, and what it holds at first."""

    size: int
    dtype: torch.dtype
    fill: float


class Tally(ABC, Generic[_D]):
    """The laws of one kind of state.

    Args:
        extractor: Gives names and neurons.

    """

    def __init__(self, extractor: DNAExtractor) -> None:
        self.origin: dict[str, Any] = {
            "extractor": extractor.name,
            "weights": extractor.weights,
            "preparation": extractor.preparation,
        }
        self.extractor_digest = extractor.digest
        self.neurons = extractor.neurons

    @property
    @abstractmethod
    def fields(self) -> dict[str, Field]:
        """The tensors of a side, by name."""

    @property
    def configuration(self) -> dict[str, Any]:
        """All that must be equal for two sides to be merged."""
        return {
            "extractor": f"{self.origin['extractor']} {self.extractor_digest}",
            "layers": dict(self.neurons),
            "state": list(self.fields),
        }

    def empty(self, device: torch.device | str) -> Side:
        """The side of no images."""
        return {
            name: torch.full((field.size,), field.fill, dtype=field.dtype, device=device)
            for name, field in self.fields.items()
        }

    @abstractmethod
    def add_(self, side: Side, activations: Mapping[str, Tensor], num_images: int) -> None:
        """Add a batch in place; ValueError, and nothing added, if an activation is not finite."""

    def merge_(self, side: Side, other: Side) -> None:
        """Add another side in place."""
        for name in self.fields:
            side[name] += other[name].to(side[name].device)

    def all_reduce_(self, side: Side, group: Any = None) -> None:
        """Add the sides of all processes in place, one all-reduce for each tensor."""
        for name in self.fields:
            dist.all_reduce(side[name], group=group)

    @abstractmethod
    def to_dna(self, side: Side) -> _D:
        """The DNA of a side; may be a view of it."""


class HistogramTally(Tally[HistogramDNA]):
    """Counts within given bounds.

    Args:
        extractor: Gives names and neurons.
        num_bins: Bins of each neuron.
        ranges: Of the extractor's neurons.

    """

    def __init__(self, extractor: DNAExtractor, num_bins: int, ranges: ActivationRanges) -> None:
        check_num_bins(num_bins)
        super().__init__(extractor)
        self.num_bins = num_bins
        self.ranges = ranges
        self._bounds = ranges.bounds()

    @property
    @override
    def fields(self) -> dict[str, Field]:
        return {"counts": Field(self.neurons.total * self.num_bins + 1, torch.int64, 0)}

    @property
    @override
    def configuration(self) -> dict[str, Any]:
        return super().configuration | {"num_bins": self.num_bins, "ranges": self.ranges.digest}

    @override
    def add_(self, side: Side, activations: Mapping[str, Tensor], num_images: int) -> None:
        counts = side["counts"]
        if self._bounds[0].device != counts.device:
            self._bounds = (self._bounds[0].to(counts.device), self._bounds[1].to(counts.device))
        add_counts_(counts[:-1].view(-1, self.num_bins), activations, *self._bounds)
        counts[-1] += num_images

    @override
    def to_dna(self, side: Side) -> HistogramDNA:
        counts = side["counts"]
        per_neuron = counts[:-1].view(-1, self.num_bins)
        return HistogramDNA(per_neuron, self.neurons, self.ranges, int(counts[-1]), **self.origin)


class SelfRangingTally(Tally[HistogramDNA]):
    """Counts on grids that grow with the data, ``ranges="auto"``.

    Beside the counts, a side keeps each neuron's extremes as ``(-minimum, maximum)``, from which its grid follows.

    Args:
        extractor: Gives names and neurons.
        num_bins: Bins of each neuron, at least 2.

    """

    def __init__(self, extractor: DNAExtractor, num_bins: int) -> None:
        check_num_bins(num_bins, least=2)
        super().__init__(extractor)
        self.num_bins = num_bins

    @property
    @override
    def fields(self) -> dict[str, Field]:
        return {
            "counts": Field(self.neurons.total * self.num_bins + 1, torch.int64, 0),
            "extremes": Field(2 * self.neurons.total, torch.float64, -torch.inf),
        }

    @property
    @override
    def configuration(self) -> dict[str, Any]:
        return super().configuration | {"num_bins": self.num_bins, "ranges": "auto"}

    @override
    def add_(self, side: Side, activations: Mapping[str, Tensor], num_images: int) -> None:
        check_finite(activations)
        batch = torch.cat(
            [
                ends
                for reduce, sign in ((torch.amin, -1), (torch.amax, 1))
                for layer in activations.values()
                for ends in [sign * reduce(layer.transpose(0, 1), tuple(range(1, layer.ndim))).double()]
            ]
        )
        grid = self._widen(side, batch)
        count_on_grid_(self._counts(side), activations, grid)
        side["counts"][-1] += num_images

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
    def to_dna(self, side: Side) -> HistogramDNA:
        minimum, maximum = self._ends(side["extremes"])
        seen = minimum <= maximum  # without images, the range of nothing stands for none
        ranges = ActivationRanges(
            torch.where(seen, minimum, 0), torch.where(seen, maximum, 0), self.neurons, "auto", "auto"
        )
        return HistogramDNA(self._counts(side), self.neurons, ranges, int(side["counts"][-1]), **self.origin)

    def _counts(self, side: Side) -> Tensor:
        return side["counts"][:-1].view(-1, self.num_bins)

    def _widen(self, side: Side, extremes: Tensor) -> Grid:
        """Move a side to the grid that also holds other extremes."""
        united = torch.maximum(side["extremes"], extremes)
        old = dyadic_grid(*self._ends(side["extremes"]), self.num_bins)
        new = dyadic_grid(*self._ends(united), self.num_bins)
        regrid_(self._counts(side), old, new)
        side["extremes"].copy_(united)
        return new

    @staticmethod
    def _ends(extremes: Tensor) -> tuple[Tensor, Tensor]:
        negated_minimum, maximum = extremes.chunk(2)
        return -negated_minimum, maximum


class MomentTally(Tally[GaussianDNA]):
    """Sums and sums of squares of spatial means."""

    @property
    @override
    def fields(self) -> dict[str, Field]:
        return {"moments": Field(2 * self.neurons.total + 1, torch.float64, 0)}

    @override
    def add_(self, side: Side, activations: Mapping[str, Tensor], num_images: int) -> None:
        moments = side["moments"]
        add_moments_(moments[:-1].view(2, -1), activations)
        moments[-1] += num_images

    @override
    def to_dna(self, side: Side) -> GaussianDNA:
        moments = side["moments"]
        return GaussianDNA.from_moments(moments[:-1].view(2, -1), self.neurons, int(moments[-1]), **self.origin)


class CrossMomentTally(Tally[LayerGaussianDNA]):
    """Sums of spatial means, and of their products within each layer, about a shift that the first batch sets."""

    @property
    @override
    def fields(self) -> dict[str, Field]:
        products = sum(width**2 for width in self.neurons.values())
        return {
            "cross_moments": Field(self.neurons.total + products + 1, torch.float64, 0),
            "shift": Field(self.neurons.total, torch.float64, 0),
        }

    @override
    def add_(self, side: Side, activations: Mapping[str, Tensor], num_images: int) -> None:
        add_cross_moments_(self._moments(side), activations)

    @override
    def merge_(self, side: Side, other: Side) -> None:
        device = side["shift"].device
        theirs = {name: tensor.to(device) for name, tensor in other.items()}
        merge_cross_moments_(self._moments(side), self._moments(theirs))

    @override
    def all_reduce_(self, side: Side, group: Any = None) -> None:
        # products can only be added where all processes have one shift, and the common mean is the best one
        moments = self._moments(side)
        total = torch.cat([moments.num_images * moments.shift + moments.sums, moments.num_images[None]])
        dist.all_reduce(total, group=group)
        recentre_(moments, total[:-1] / total[-1].clamp(min=1))
        dist.all_reduce(side["cross_moments"], group=group)

    @override
    def to_dna(self, side: Side) -> LayerGaussianDNA:
        moments = self._moments(side)
        return LayerGaussianDNA(*mean_and_covariance(moments), self.neurons, int(moments.num_images), **self.origin)

    def _moments(self, side: Side) -> CrossMoments:
        """Views of a side."""
        widths = self.neurons.items()
        sums, *products, num_images = torch.split(
            side["cross_moments"], [self.neurons.total, *(width**2 for _, width in widths), 1]
        )
        by_layer = {layer: p.view(n, n) for (layer, n), p in zip(widths, products, strict=True)}
        return CrossMoments(num_images[0], side["shift"], sums, by_layer)


def histogram_tally(extractor: DNAExtractor, num_bins: int, ranges: Any = None) -> HistogramTally | SelfRangingTally:
    """The tally for an argument ``ranges``: ActivationRanges, a path, ``"auto"``, or None for the usual ones."""
    resolved = extractor.resolve_ranges(ranges)
    if resolved is None:
        return SelfRangingTally(extractor, num_bins)
    return HistogramTally(extractor, num_bins, resolved)
