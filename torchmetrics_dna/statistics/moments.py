"""Statistics of Gaussians of neurons and of layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.binning.activations import sent
from torchmetrics_dna.binning.moments import (
    NUM_MOMENTS,
    CrossMoments,
    add_cross_moments_,
    image_moments,
    mean_and_covariance,
    merge_cross_moments_,
    recentre_,
)
from torchmetrics_dna.dna import GaussianDNA, LayerGaussianDNA
from torchmetrics_dna.statistics.base import DNAStatistic, Origin, State

if TYPE_CHECKING:
    from torchmetrics_dna.binning import Activations
    from torchmetrics_dna.extractors import DNAExtractor


class MomentStatistic(DNAStatistic[GaussianDNA]):
    """Sums of spatial means and of their squares, in two parts each."""

    kind = GaussianDNA.kind
    tensor = "moments"
    dtype = torch.float64

    def __init__(self, extractor: DNAExtractor, num_folds: int | None) -> None:
        super().__init__(extractor, num_folds)
        self.size = NUM_MOMENTS * self.neurons.total
        self.fold_size = self.size

    @override
    def add_(self, state: State, activations: Activations, keys: Tensor | None = None) -> None:
        moments = image_moments(activations).flatten(1)
        numbers = self.numbers(state)
        # The sums have one order of addition, whatever other layers there are.
        numbers.whole.add_(moments.T.contiguous().sum(1))
        add_to_folds_(numbers.folds, moments, keys)
        self.count_images_(state, activations, keys)

    @override
    def dna_of(self, state: State, num_images: int, origin: Origin) -> GaussianDNA:
        moments = self.numbers(state).whole.view(NUM_MOMENTS, -1)
        return GaussianDNA.from_moments(moments, self.neurons, num_images, **origin)


def add_to_folds_(folds: Tensor, moments: Tensor, keys: Tensor | None) -> None:
    """Add the moments of each image, ``(B, n)``, to those of its fold, ``(num_folds, n)``, always in one order."""
    if keys is None:
        return
    in_fold = (torch.arange(len(folds))[:, None] == keys).double()
    folds.addmm_(sent(in_fold, folds.device), moments)


class CrossMomentStatistic(DNAStatistic[LayerGaussianDNA]):
    """Sums of spatial means, and of their products within each layer, about a shift set by the first batch.

    Folds have the sums of a :class:`MomentStatistic`.

    Args:
        extractor: Extractor of the activations.
        layer: The only layer to take; by default all.
        num_folds: Number of folds; None for none.

    """

    kind = LayerGaussianDNA.kind
    tensor = "cross_moments"
    dtype = torch.float64
    aligned_by = "sum"

    def __init__(self, extractor: DNAExtractor, layer: str | None = None, num_folds: int | None = None) -> None:
        if layer is None:
            super().__init__(extractor, num_folds)
        else:
            super().__init__(extractor, num_folds, **{"layers of moments": layer})
            self.neurons = extractor.neurons.take(extractor.neurons.positions([layer]))
        self.fold_size = NUM_MOMENTS * self.neurons.total
        self.size = 2 * self.neurons.total + sum(width**2 for width in self.neurons.values())

    @override
    def add_(self, state: State, activations: Activations, keys: Tensor | None = None) -> None:
        activations = activations.only(self.neurons)
        add_cross_moments_(self._moments(state), activations)
        if keys is not None:
            add_to_folds_(self.numbers(state).folds, image_moments(activations).flatten(1), keys)
        self.count_images_(state, activations, keys)

    @override
    def merge_(self, state: State, earlier: State) -> None:
        tensor = state[self.tensor]
        earlier_tensor = earlier[self.tensor].to(tensor.device)
        merge_cross_moments_(self._moments(state), self._moments({self.tensor: earlier_tensor}))
        # The numbers after the moments of all images add up.
        tensor[self.size :].add_(earlier_tensor[self.size :])

    @override
    def to_align(self, state: State) -> Tensor:
        # Products add up only with a common shift. The mean of all images is the most accurate one.
        moments = self._moments(state)
        sums = moments.num_images * moments.shift + moments.sums
        return torch.cat([sums, moments.num_images[None]])

    @override
    def align_(self, state: State, common: Tensor, is_first: bool) -> None:
        moments = self._moments(state)
        sums = common[:-1]
        num_images = common[-1]
        recentre_(moments, sums / num_images.clamp(min=1))
        if not is_first:
            moments.shift.zero_()

    @override
    def dna_of(self, state: State, num_images: int, origin: Origin) -> LayerGaussianDNA:
        mean, cov = mean_and_covariance(self._moments(state))
        return LayerGaussianDNA(mean, cov, self.neurons, num_images, **origin)

    def _moments(self, state: State) -> CrossMoments:
        """Return the moments in a state, as views."""
        numbers = self.numbers(state)
        sizes_of_products = [width**2 for width in self.neurons.values()]
        sizes = [self.neurons.total, self.neurons.total, *sizes_of_products]
        shift, sums, *flat_products = torch.split(numbers.whole, sizes)
        products = {}
        for (layer, width), flat in zip(self.neurons.items(), flat_products, strict=True):
            products[layer] = flat.view(width, width)
        return CrossMoments(numbers.images[0], shift, sums, products)
