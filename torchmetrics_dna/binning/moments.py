"""Moments of each neuron's spatial means, the statistics of the paper's Gaussian DNA, and of their products, for fd.

Where the mean is much larger than the spread, the variance is a small difference of large sums. So each mean is split
into a coarse part, which adds up without rounding, and a rest. Products within a layer are taken about a shift near the
mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torchmetrics_dna.binning.activations import Activations

# Moments per neuron.
NUM_MOMENTS = 4
# Rounding by this factor keeps 14 of the 53 bits of float64, so sums of squares of 4 million numbers are exact.
_SPLIT = 2.0**39 + 1


def image_moments(activations: Activations) -> Tensor:
    """Return spatial means and their squares (section 3.1 of the paper), float64, ``(B, 4, N)``, layers concatenated.

    A mean is the sum of a coarse part and a rest. The four moments are the coarse part, its square, the rest, and the
    square of the mean minus that of the coarse part; see :func:`mean_and_variance`. On a device, moments of values that
    are not finite are not finite.

    Raises:
        ValueError: If a value on the CPU is not finite.

    """
    means = torch.cat([activations.means(layer) for layer in activations.layers], 1)
    activations.check(wait=False)
    coarse = _coarse(means)
    # This difference is exact.
    rest = means - coarse
    return torch.stack([coarse, coarse.square(), rest, rest * (means + coarse)], 1)


def mean_and_variance(moments: Tensor, num_images: int) -> tuple[Tensor, Tensor]:
    """Return mean and unbiased variance, ``(N,)``, from the sums of :func:`image_moments` over images, ``(4, N)``.

    A standard deviation is accurate to 1e-9 of the mean. Plain sums and sums of squares, ``(2, N)``, are also accepted.
    It is then accurate to 1e-7 of the mean.
    """
    count = max(1, num_images)
    coarse, squares, rest, beyond = moments if len(moments) == NUM_MOMENTS else (*moments, 0.0, 0.0)
    mean = (coarse + rest) / count
    # The coarse parts can be moved about a coarse centre without rounding.
    centre = _coarse(mean)
    from_centre = (coarse - count * centre) + rest
    squares = (squares - 2 * centre * coarse + count * centre.square()) + (beyond - 2 * centre * rest)
    # Rounding can make the variance of a constant neuron negative, and that of one image positive.
    squares = (squares - from_centre.square() / count).clamp(min=0) * (num_images > 1)
    return mean, squares / max(1, num_images - 1)


def _coarse(values: Tensor) -> Tensor:
    """Round float64 to few bits (Veltkamp, 1968)."""
    scaled = values * _SPLIT
    return scaled - (scaled - values)


class CrossMoments(NamedTuple):
    """Sums over images, with x the spatial means of a layer and c its shift; all float64.

    Attributes:
        num_images: Number of images, a scalar.
        shift: The shift c, ``(N,)``, layers concatenated.
        sums: Sums of x - c, ``(N,)``.
        products: Sums of (x - c) (x - c)', ``{layer: (n, n)}``.

    """

    num_images: Tensor
    shift: Tensor
    sums: Tensor
    products: Mapping[str, Tensor]

    def layers(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield the slice of each layer in the flat tensors, and its products."""
        first = 0
        for product in self.products.values():
            width = len(product)
            yield slice(first, first + width), product
            first += width


def add_cross_moments_(moments: CrossMoments, activations: Activations) -> None:
    """Add the spatial means of a batch in place, except for their number; errors are those of :func:`image_moments`.

    The mean of the first batch becomes the shift, without a device sync.
    """
    means = [activations.means(layer) for layer in moments.products]
    activations.check(wait=False)
    first = torch.cat([mean.sum(0) for mean in means]) / max(1, len(activations))
    moments.shift.copy_(torch.where(moments.num_images > 0, moments.shift, first))
    for (columns, product), mean in zip(moments.layers(), means, strict=True):
        centred = mean - moments.shift[columns]
        moments.sums[columns] += centred.sum(0)
        product.addmm_(centred.T, centred)


def merge_cross_moments_(moments: CrossMoments, other: CrossMoments) -> None:
    """Add the moments of other images in place, except for their number; empty moments take the other shift."""
    moments.shift.copy_(torch.where(moments.num_images > 0, moments.shift, other.shift))
    offset = other.shift - moments.shift
    for (columns, product), other_product in zip(moments.layers(), other.products.values(), strict=True):
        product += other_product
        _move_(product, other.sums[columns], other.num_images, offset[columns])
    moments.sums.add_(other.sums + other.num_images * offset)


def recentre_(moments: CrossMoments, shift: Tensor) -> None:
    """Move the moments to another shift, in place."""
    offset = moments.shift - shift
    for columns, product in moments.layers():
        _move_(product, moments.sums[columns], moments.num_images, offset[columns])
    moments.sums.add_(moments.num_images * offset)
    moments.shift.copy_(shift)


def mean_and_covariance(moments: CrossMoments) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute the mean ``(N,)`` and the unbiased covariance of each layer ``{layer: (n, n)}``; 0 for one image."""
    # Mean of x - c.
    mean = moments.sums / moments.num_images.clamp(min=1)
    degrees_of_freedom = (moments.num_images - 1).clamp(min=1)
    cov = {}
    for layer, (columns, product) in zip(moments.products, moments.layers(), strict=True):
        scatter = torch.addr(product, moments.sums[columns], mean[columns], alpha=-1)
        cov[layer] = scatter / degrees_of_freedom
    return moments.shift + mean, cov


def _move_(product: Tensor, sums: Tensor, num_images: Tensor, offset: Tensor) -> None:
    """Add ``offset`` to each x - c, whose products are in ``product`` and whose sums are in ``sums``."""
    # Add S d' + d S' + n d d' by two updates in place, which keep the product symmetric.
    half = sums + offset * (num_images / 2)
    product.addr_(half, offset).addr_(offset, half)
