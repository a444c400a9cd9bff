"""Moments of each neuron's spatial mean, for the Gaussian DNA of the paper, and their products in a layer, for fd.

If a mean is much larger than the standard deviation, the variance is a small difference of large sums, and rounding
errors are large. So each spatial mean is split into a coarse part, whose sums are exact, and a remainder. Before the
products of a layer are summed, a shift close to the mean is subtracted from the spatial means.
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
# A coarse part has 14 of the 53 bits of float64. So the sum of the squares of 4 million coarse parts is exact.
_SPLIT = 2.0**39 + 1


def image_moments(activations: Activations) -> Tensor:
    """Return four moments of the spatial means of each image (section 3.1 of the paper), layers concatenated.

    A spatial mean m is the sum of a coarse part c and a remainder r. The moments are c, c^2, r and m^2 - c^2. Their
    sums over images are the input of :func:`mean_and_variance`.

    Returns:
        Moments, float64, ``(B, 4, N)``. On a device, the moments of values that are not finite are not finite.

    Raises:
        ValueError: If a value on the CPU is not finite.

    """
    means = torch.cat([activations.means(layer) for layer in activations.layers], 1)
    activations.check(wait=False)
    coarse = _coarse(means)
    # This difference is exact.
    remainder = means - coarse
    return torch.stack([coarse, coarse.square(), remainder, remainder * (means + coarse)], 1)


def mean_and_variance(moments: Tensor, num_images: int) -> tuple[Tensor, Tensor]:
    """Compute the mean and the unbiased variance of each neuron's spatial mean.

    Args:
        moments: Sums over images of :func:`image_moments`, ``(4, N)``. Or plain sums and sums of squares, ``(2, N)``.
        num_images: Number of images.

    Returns:
        Mean and variance, ``(N,)`` each. The error of the standard deviation is at most 1e-9 times the mean, or 1e-7
        times the mean for plain sums.

    """
    count = max(1, num_images)
    # Sums over images of the coarse parts, their squares, the remainders, and the remainders of the squares.
    if len(moments) == NUM_MOMENTS:
        sum_coarse, sum_coarse_squares, sum_remainders, sum_remaining_squares = moments
    else:
        sum_coarse, sum_coarse_squares = moments
        sum_remainders = torch.zeros_like(sum_coarse)
        sum_remaining_squares = torch.zeros_like(sum_coarse)
    mean = (sum_coarse + sum_remainders) / count
    # Moments about a centre near the mean are small. Coarse parts are moved to a coarse centre without rounding.
    centre = _coarse(mean)
    sum_centred = (sum_coarse - count * centre) + sum_remainders
    sum_centred_coarse_squares = sum_coarse_squares - 2 * centre * sum_coarse + count * centre.square()
    sum_centred_squares = sum_centred_coarse_squares + (sum_remaining_squares - 2 * centre * sum_remainders)
    # Rounding can make the variance of a constant neuron negative, and that of one image positive.
    scatter = (sum_centred_squares - sum_centred.square() / count).clamp(min=0) * (num_images > 1)
    return mean, scatter / max(1, num_images - 1)


def _coarse(values: Tensor) -> Tensor:
    """Round float64 to 14 bits (Veltkamp, 1968)."""
    scaled = values * _SPLIT
    return scaled - (scaled - values)


class CrossMoments(NamedTuple):
    """Sums over images, where x are the spatial means of the neurons, and c is a shift. All tensors are float64.

    Attributes:
        num_images: Number of images, a scalar.
        shift: The shift c, ``(N,)``, layers concatenated.
        sums: Sums of x - c, ``(N,)``, layers concatenated.
        products: Sums of (x - c) (x - c)' for the neurons of each layer, ``{layer: (n, n)}``.

    """

    num_images: Tensor
    shift: Tensor
    sums: Tensor
    products: Mapping[str, Tensor]

    def layers(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield the slice of each layer in the concatenated tensors, and the products of the layer."""
        first = 0
        for product in self.products.values():
            width = len(product)
            yield slice(first, first + width), product
            first += width


def add_cross_moments_(moments: CrossMoments, activations: Activations) -> None:
    """Add the sums and products of a batch in place. The caller adds the number of images.

    The mean of the first batch becomes the shift. No device sync is necessary.

    Raises:
        ValueError: If a value on the CPU is not finite.

    """
    means_of_layers = [activations.means(layer) for layer in moments.products]
    activations.check(wait=False)
    mean_of_batch = torch.cat([means.sum(0) for means in means_of_layers]) / max(1, len(activations))
    moments.shift.copy_(torch.where(moments.num_images > 0, moments.shift, mean_of_batch))
    for (columns, product), means in zip(moments.layers(), means_of_layers, strict=True):
        centred = means - moments.shift[columns]
        moments.sums[columns] += centred.sum(0)
        product.addmm_(centred.T, centred)


def merge_cross_moments_(moments: CrossMoments, other: CrossMoments) -> None:
    """Add the sums and products of other images to ``moments``. The caller adds the number of images.

    Moments without images adopt the shift of the other moments.
    """
    moments.shift.copy_(torch.where(moments.num_images > 0, moments.shift, other.shift))
    offset = other.shift - moments.shift
    for (columns, product), other_product in zip(moments.layers(), other.products.values(), strict=True):
        product += other_product
        _move_(product, other.sums[columns], other.num_images, offset[columns])
    moments.sums.add_(other.sums + other.num_images * offset)


def recentre_(moments: CrossMoments, shift: Tensor) -> None:
    """Change the shift of moments in place, and adapt the sums and products."""
    offset = moments.shift - shift
    for columns, product in moments.layers():
        _move_(product, moments.sums[columns], moments.num_images, offset[columns])
    moments.sums.add_(moments.num_images * offset)
    moments.shift.copy_(shift)


def mean_and_covariance(moments: CrossMoments) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute the mean, ``(N,)``, and the unbiased covariance of each layer, ``{layer: (n, n)}``.

    The covariance of a single image is 0.
    """
    # Mean of x - c.
    mean = moments.sums / moments.num_images.clamp(min=1)
    degrees_of_freedom = (moments.num_images - 1).clamp(min=1)
    cov = {}
    for layer, (columns, product) in zip(moments.products, moments.layers(), strict=True):
        scatter = torch.addr(product, moments.sums[columns], mean[columns], alpha=-1)
        cov[layer] = scatter / degrees_of_freedom
    return moments.shift + mean, cov


def _move_(product: Tensor, sums: Tensor, num_images: Tensor, offset: Tensor) -> None:
    """Change the products of a layer in place, as if ``offset`` had been added to each x - c.

    Args:
        product: Sums of (x - c) (x - c)', ``(n, n)``.
        sums: Sums of x - c, ``(n,)``.
        num_images: Number of images, a scalar.
        offset: The offset, ``(n,)``.

    """
    # With sums S and offset d, this adds S d' + d S' + n d d' in two updates, which keep the product symmetric.
    half = sums + offset * (num_images / 2)
    product.addr_(half, offset).addr_(offset, half)
