"""How activations add up to a DNA, or to ranges: what a running state holds, how it grows, merges and is reduced.

A tally holds no state itself. The state of one set of images, its *side*, is a dict of flat tensors: metrics register
them with torchmetrics, ``measure`` keeps them in a variable. The last entry of the first tensor counts images.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, get_args

import torch
from torch import Tensor
from torch import distributed as dist
from typing_extensions import override

from torchmetrics_dna.binning import add_counts_, add_cross_moments_, add_moments_
from torchmetrics_dna.binning.extremes import activation_extremes, split_extremes
from torchmetrics_dna.binning.histogram import check_num_bins
from torchmetrics_dna.binning.self_ranging import Grid, count_on_grid_, dyadic_grid, regrid_
from torchmetrics_dna.dna import DNA, GaussianDNA, HistogramDNA, LayerGaussianDNA
from torchmetrics_dna.ranges import ActivationRanges, FixedMargin

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


class Tally(ABC):
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


class DNATally(Tally, Generic[_D]):
    """A tally whose sides are DNAs."""

    @abstractmethod
    def to_dna(self, side: Side) -> _D:
        """The DNA of a side; may be a view of it."""


class HistogramTally(DNATally[HistogramDNA]):
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


class SelfRangingTally(DNATally[HistogramDNA]):
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
        grid = self._widen(side, activation_extremes(activations))
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
        minimum, maximum = split_extremes(side["extremes"])
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
        old = dyadic_grid(*split_extremes(side["extremes"]), self.num_bins)
        new = dyadic_grid(*split_extremes(united), self.num_bins)
        regrid_(self._counts(side), old, new)
        side["extremes"].copy_(united)
        return new


class RangeTally(Tally):
    """The smallest and largest activation of each neuron.

    Args:
        extractor: Gives names and neurons.
        margin: Rule of the ranges; ``"widen"`` or ``"scale"``.

    Raises:
        ValueError: If it is another rule.

    """

    def __init__(self, extractor: DNAExtractor, margin: FixedMargin) -> None:
        if margin not in get_args(FixedMargin):
            raise ValueError(f"Argument `margin` expected to be one of {get_args(FixedMargin)}, but got {margin!r}")
        super().__init__(extractor)
        self.margin = margin

    @property
    @override
    def fields(self) -> dict[str, Field]:
        return {
            "images": Field(1, torch.int64, 0),
            "extremes": Field(2 * self.neurons.total, torch.float64, -torch.inf),
        }

    @property
    @override
    def configuration(self) -> dict[str, Any]:
        return super().configuration | {"margin": self.margin}

    @override
    def add_(self, side: Side, activations: Mapping[str, Tensor], num_images: int) -> None:
        self._reach(side, activation_extremes(activations))
        side["images"] += num_images

    def add_ranges_(self, side: Side, ranges: ActivationRanges) -> None:
        """Add, in place, ranges that were measured before; ValueError if layers or margin rule do not fit."""
        if ranges.margin != self.margin:
            raise ValueError(f"Can't unite ranges with margin {self.margin!r} and margin {ranges.margin!r}")
        known = ranges.restrict(self.neurons)
        self._reach(side, torch.cat([-known.minimum, known.maximum]))

    @override
    def merge_(self, side: Side, other: Side) -> None:
        self._reach(side, other["extremes"])
        side["images"] += other["images"].to(side["images"].device)

    @override
    def all_reduce_(self, side: Side, group: Any = None) -> None:
        dist.all_reduce(side["images"], group=group)
        dist.all_reduce(side["extremes"], op=dist.ReduceOp.MAX, group=group)

    def to_ranges(self, side: Side) -> ActivationRanges:
        """The ranges of a side, on the CPU; RuntimeError if nothing was added to it."""
        return ActivationRanges(*self.ends(side), self.neurons, self.margin)

    @staticmethod
    def ends(side: Side) -> tuple[Tensor, Tensor]:
        """Minimum and maximum, each ``(N,)``; RuntimeError if nothing was added to the side."""
        if side["extremes"].isinf().any():
            raise RuntimeError("At least one image is required to know activation ranges, but got 0")
        return split_extremes(side["extremes"])

    @staticmethod
    def _reach(side: Side, extremes: Tensor) -> None:
        side["extremes"].copy_(torch.maximum(side["extremes"], extremes.to(side["extremes"].device)))


class MomentTally(DNATally[GaussianDNA]):
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


class CrossMomentTally(DNATally[LayerGaussianDNA]):
    """Sums of spatial means, and of their products within each layer."""

    @property
    @override
    def fields(self) -> dict[str, Field]:
        products = sum(width**2 for width in self.neurons.values())
        return {"cross_moments": Field(self.neurons.total + products + 1, torch.float64, 0)}

    @override
    def add_(self, side: Side, activations: Mapping[str, Tensor], num_images: int) -> None:
        sums, products = self._parts(side)
        add_cross_moments_(sums, products, activations)
        side["cross_moments"][-1] += num_images

    @override
    def to_dna(self, side: Side) -> LayerGaussianDNA:
        sums, products = self._parts(side)
        num_images = int(side["cross_moments"][-1])
        mean = sums / max(1, num_images)
        cov = {}
        for (layer, product), own in zip(products.items(), self.neurons.split(mean).values(), strict=True):
            cov[layer] = (product - num_images * torch.outer(own, own)) / max(1, num_images - 1)
        return LayerGaussianDNA(mean, cov, self.neurons, num_images, **self.origin)

    def _parts(self, side: Side) -> tuple[Tensor, dict[str, Tensor]]:
        sizes = [self.neurons.total, *(width**2 for width in self.neurons.values())]
        sums, *products = torch.split(side["cross_moments"][:-1], sizes)
        widths = self.neurons.items()
        return sums, {layer: p.view(n, n) for (layer, n), p in zip(widths, products, strict=True)}


def histogram_tally(extractor: DNAExtractor, num_bins: int, ranges: Any = None) -> HistogramTally | SelfRangingTally:
    """The tally for an argument ``ranges``: ActivationRanges, a path, ``"auto"``, or None for the usual ones."""
    resolved = extractor.resolve_ranges(ranges)
    if resolved is None:
        return SelfRangingTally(extractor, num_bins)
    return HistogramTally(extractor, num_bins, resolved)
