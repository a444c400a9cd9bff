"""Statistics whose values are Gaussians: one per neuron, or one per layer."""

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
    """Sums over images of each neuron's spatial mean and its square, see :func:`image_moments`."""

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
        # With contiguous rows, the order of addition does not depend on the number of neurons.
        numbers.whole.add_(moments.T.contiguous().sum(1))
        add_to_folds_(numbers.folds, moments, keys)
        self.count_images_(state, activations, keys)

    @override
    def dna_of(self, state: State, num_images: int, origin: Origin) -> GaussianDNA:
        moments = self.numbers(state).whole.view(NUM_MOMENTS, -1)
        return GaussianDNA.from_moments(moments, self.neurons, num_images, **origin)


def add_to_folds_(folds: Tensor, moments: Tensor, keys: Tensor | None) -> None:
    """Add the moments of each image to those of its fold in place, always in the same order.

    Args:
        folds: Sums of the moments of each fold, ``(num_folds, n)``.
        moments: Moments of each image, ``(B, n)``.
        keys: Fold of each image, ``(B,)``, on the CPU; None without folds.

    """
    if keys is None:
        return
    in_fold = (torch.arange(len(folds))[:, None] == keys).double()
    folds.addmm_(sent(in_fold, folds.device), moments)


class CrossMomentStatistic(DNAStatistic[LayerGaussianDNA]):
    """Sums over images of spatial means, and of products of the spatial means of two neurons of a layer.

    A shift is subtracted from all spatial means first, which reduces rounding errors. The mean of the first batch is
    used as the shift. Folds have the sums of a :class:`MomentStatistic`, which need no shift.

    Args:
        extractor: Extractor of the activations.
        layer: Name of a single layer to use; by default all layers.
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
        # All numbers that follow the moments of all images can be added.
        tensor[self.size :].add_(earlier_tensor[self.size :])

    @override
    def to_align(self, state: State) -> Tensor:
        # Products can be added only if they have the same shift. The mean of all images is the most accurate shift.
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
        """Return views of the moments in a state."""
        numbers = self.numbers(state)
        sizes_of_products = [width**2 for width in self.neurons.values()]
        sizes = [self.neurons.total, self.neurons.total, *sizes_of_products]
        shift, sums, *flat_products = torch.split(numbers.whole, sizes)
        products = {}
        for (layer, width), flat in zip(self.neurons.items(), flat_products, strict=True):
            products[layer] = flat.view(width, width)
        return CrossMoments(numbers.images[0], shift, sums, products)
