"""Statistics of Gaussians of neurons and of layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.binning.moments import (
    CrossMoments,
    add_cross_moments_,
    add_moments_,
    mean_and_covariance,
    merge_cross_moments_,
    recentre_,
)
from torchmetrics_dna.dna import GaussianDNA, LayerGaussianDNA
from torchmetrics_dna.statistics.base import DNAStatistic, Field, State
from torchmetrics_dna.statistics.nonfinite import read_tail, screened

if TYPE_CHECKING:
    from torchmetrics_dna.binning.layouts import Parts
    from torchmetrics_dna.extractors import DNAExtractor


class MomentStatistic(DNAStatistic[GaussianDNA]):
    """Sums and sums of squares of spatial means."""

    kind = GaussianDNA.kind

    @property
    @override
    def fields(self) -> dict[str, Field]:
        return {"moments": Field(2 * self.neurons.total + len(self.neurons) + 1, torch.float64, 0)}

    @override
    def add_(self, state: State, parts: Parts, num_images: int, finite: Tensor | None = None) -> None:
        with screened(self.tail(state), parts, num_images, finite) as accepted:
            add_moments_(self._moments(state), parts, accepted)

    @override
    def value(self, state: State) -> GaussianDNA:
        num_images = read_tail(self.tail(state), self.neurons)
        return GaussianDNA.from_moments(self._moments(state), self.neurons, num_images, **self.origin)

    def _moments(self, state: State) -> Tensor:
        return state["moments"][: 2 * self.neurons.total].view(2, -1)


class CrossMomentStatistic(DNAStatistic[LayerGaussianDNA]):
    """Sums of spatial means, and of their products within each layer, about a shift set by the first batch.

    Args:
        extractor: Extractor of the activations.
        layer: The only layer to take; by default all.

    """

    kind = LayerGaussianDNA.kind
    shared_by = "sum"

    def __init__(self, extractor: DNAExtractor, layer: str | None = None) -> None:
        super().__init__(extractor, **({} if layer is None else {"layers of moments": layer}))
        if layer is not None:
            self.neurons = extractor.neurons.take(extractor.neurons.positions([layer]))

    @property
    @override
    def fields(self) -> dict[str, Field]:
        products = sum(width**2 for width in self.neurons.values())
        size = 2 * self.neurons.total + products + len(self.neurons) + 1
        return {"cross_moments": Field(size, torch.float64, reduction=self.merged)}

    @override
    def add_(self, state: State, parts: Parts, num_images: int, finite: Tensor | None = None) -> None:
        parts = [{layer: part[layer] for layer in self.neurons} for part in parts]
        with screened(self.tail(state), parts, num_images, finite) as accepted:
            add_cross_moments_(self._moments(state), parts, accepted)

    @override
    def merge_(self, state: State, earlier: State) -> None:
        theirs = {"cross_moments": earlier["cross_moments"].to(state["cross_moments"].device)}
        merge_cross_moments_(self._moments(state), self._moments(theirs))
        self.tail(state).add_(self.tail(theirs))

    @override
    def shared(self, state: State) -> Tensor:
        # products add up only with a common shift, and the global mean is the most accurate one
        moments = self._moments(state)
        return torch.cat([moments.num_images * moments.shift + moments.sums, moments.num_images[None]])

    @override
    def align_(self, state: State, shared: Tensor, is_first: bool) -> None:
        moments = self._moments(state)
        recentre_(moments, shared[:-1] / shared[-1].clamp(min=1))
        if not is_first:
            moments.shift.zero_()

    @override
    def value(self, state: State) -> LayerGaussianDNA:
        num_images = read_tail(self.tail(state), self.neurons)
        return LayerGaussianDNA(*mean_and_covariance(self._moments(state)), self.neurons, num_images, **self.origin)

    def _moments(self, state: State) -> CrossMoments:
        """Return the moments in a state, as views: the shift, sums, products of each layer, and the tail."""
        total, widths = self.neurons.total, self.neurons.values()
        sizes = [total, total, *(width**2 for width in widths), len(widths) + 1]
        shift, sums, *products, tail = torch.split(state["cross_moments"], sizes)
        by_layer = {layer: p.view(n, n) for (layer, n), p in zip(self.neurons.items(), products, strict=True)}
        return CrossMoments(tail[-1], shift, sums, by_layer)
