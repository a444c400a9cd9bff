"""Tallies of Gaussians: of neurons, and of layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch import distributed as dist
from typing_extensions import override

from torchmetrics_dna.binning import add_moments_
from torchmetrics_dna.binning.cross_moments import (
    CrossMoments,
    add_cross_moments_,
    mean_and_covariance,
    merge_cross_moments_,
    recentre_,
)
from torchmetrics_dna.dna import GaussianDNA, LayerGaussianDNA
from torchmetrics_dna.tally.base import DNATally, Field, Side
from torchmetrics_dna.tally.nonfinite import read_tail, screened

if TYPE_CHECKING:
    from torchmetrics_dna.binning.layouts import Parts


class MomentTally(DNATally[GaussianDNA]):
    """Sums and sums of squares of spatial means."""

    kind = GaussianDNA.kind

    @property
    @override
    def fields(self) -> dict[str, Field]:
        return {"moments": Field(2 * self.neurons.total + len(self.neurons) + 1, torch.float64, 0)}

    @override
    def add_(self, side: Side, parts: Parts, num_images: int) -> None:
        moments, tail = self._split(side)
        with screened(tail, parts, num_images) as accepted:
            add_moments_(moments, parts, accepted)

    @override
    def value(self, side: Side) -> GaussianDNA:
        moments, tail = self._split(side)
        return GaussianDNA.from_moments(moments, self.neurons, read_tail(tail, self.neurons), **self.origin)

    def _split(self, side: Side) -> tuple[Tensor, Tensor]:
        moments = side["moments"]
        return moments[: 2 * self.neurons.total].view(2, -1), moments[2 * self.neurons.total :]


class CrossMomentTally(DNATally[LayerGaussianDNA]):
    """Sums of spatial means, and of their products within each layer, about a shift that the first batch sets."""

    kind = LayerGaussianDNA.kind
    additive = False

    @property
    @override
    def fields(self) -> dict[str, Field]:
        products = sum(width**2 for width in self.neurons.values())
        return {
            "cross_moments": Field(self.neurons.total + products + len(self.neurons) + 1, torch.float64, 0),
            "shift": Field(self.neurons.total, torch.float64, 0),
        }

    @override
    def add_(self, side: Side, parts: Parts, num_images: int) -> None:
        with screened(self._tail(side), parts, num_images) as accepted:
            add_cross_moments_(self._moments(side), parts, accepted)

    @override
    def merge_(self, side: Side, other: Side) -> None:
        device = side["shift"].device
        theirs = {name: tensor.to(device) for name, tensor in other.items()}
        merge_cross_moments_(self._moments(side), self._moments(theirs))
        self._tail(side).add_(self._tail(theirs))

    @override
    def all_reduce_(self, side: Side, group: Any = None) -> None:
        # products can only be added where all processes have one shift, and the common mean is the best one
        moments = self._moments(side)
        total = torch.cat([moments.num_images * moments.shift + moments.sums, moments.num_images[None]])
        dist.all_reduce(total, group=group)
        recentre_(moments, total[:-1] / total[-1].clamp(min=1))
        dist.all_reduce(side["cross_moments"], group=group)

    @override
    def value(self, side: Side) -> LayerGaussianDNA:
        num_images = read_tail(self._tail(side), self.neurons)
        return LayerGaussianDNA(*mean_and_covariance(self._moments(side)), self.neurons, num_images, **self.origin)

    def _moments(self, side: Side) -> CrossMoments:
        """Views of a side."""
        widths, tail = self.neurons.items(), self._tail(side)
        sums, *products = torch.split(
            side["cross_moments"][: -len(tail)], [self.neurons.total, *(width**2 for _, width in widths)]
        )
        by_layer = {layer: p.view(n, n) for (layer, n), p in zip(widths, products, strict=True)}
        return CrossMoments(tail[-1], side["shift"], sums, by_layer)

    def _tail(self, side: Side) -> Tensor:
        return side["cross_moments"][-len(self.neurons) - 1 :]
