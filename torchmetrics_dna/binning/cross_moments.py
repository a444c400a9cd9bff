"""Moments of spatial means and of their products within each layer, the statistics of fd.

They are taken about a shift near the mean. About 0, the square of a mean that is large beside the spread would fill the
digits, and a covariance, what is left after its subtraction, would have none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from torchmetrics_dna.binning.histogram import check_finite
from torchmetrics_dna.binning.moments import spatial_means

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torchmetrics_dna.binning.layouts import Parts


class CrossMoments(NamedTuple):
    """Sums over images, with x the spatial means of a layer and c its shift; all float64.

    Attributes:
        num_images: A scalar.
        shift: The c, shape ``(N,)``, layers one after another.
        sums: Sums of x - c, shape ``(N,)``.
        products: Sums of (x - c) (x - c)', ``{layer: (n, n)}``.

    """

    num_images: Tensor
    shift: Tensor
    sums: Tensor
    products: Mapping[str, Tensor]

    def layers(self) -> Iterator[tuple[slice, Tensor]]:
        """Where each layer lies in the flat tensors, and its products."""
        first = 0
        for product in self.products.values():
            yield slice(first, first + len(product)), product
            first += len(product)


def add_cross_moments_(moments: CrossMoments, parts: Parts, accepted: Tensor | None = None) -> None:
    """Add the spatial means of a batch in place, all but their number; bad activations change nothing.

    The mean of the first batch becomes the shift, without asking the device whether it is the first.

    Args:
        moments: Layers in the order of ``parts``.
        parts: Activations of some images after others, each ``{layer: (B, n, *positions)}``.
        accepted: 1 if the activations are finite and 0 if not, on their device, which then is not asked.

    Raises:
        ValueError: If a value is not finite, unless ``accepted`` is given.

    """
    if accepted is None:
        check_finite(parts)
    means = [spatial_means([part[layer] for part in parts]) for layer in parts[0]]
    batch = means[0].shape[1]
    first = torch.cat([mean.sum(1) for mean in means]) / max(1, batch)
    keep = moments.num_images > 0
    moments.shift.copy_(torch.where(keep if accepted is None else keep | (accepted < 1), moments.shift, first))
    for (where, product), mean in zip(moments.layers(), means, strict=True):
        mean -= moments.shift[where, None]
        if accepted is not None:
            mean.copy_(torch.where(accepted > 0, mean, 0.0))
        moments.sums[where] += mean.sum(1)
        product.addmm_(mean, mean.T)


def merge_cross_moments_(moments: CrossMoments, other: CrossMoments) -> None:
    """Add the moments of other images in place, all but their number; those of no images take the others' shift."""
    moments.shift.copy_(torch.where(moments.num_images > 0, moments.shift, other.shift))
    offset = other.shift - moments.shift
    for (where, product), theirs in zip(moments.layers(), other.products.values(), strict=True):
        product += theirs
        _move_(product, other.sums[where], other.num_images, offset[where])
    moments.sums.add_(other.sums + other.num_images * offset)


def recentre_(moments: CrossMoments, shift: Tensor) -> None:
    """Take the moments about another shift, in place."""
    offset = moments.shift - shift
    for where, product in moments.layers():
        _move_(product, moments.sums[where], moments.num_images, offset[where])
    moments.sums.add_(moments.num_images * offset)
    moments.shift.copy_(shift)


def mean_and_covariance(moments: CrossMoments) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean, shape ``(N,)``, and unbiased covariance of each layer, ``{layer: (n, n)}``; 0 for one image."""
    mean = moments.sums / moments.num_images.clamp(min=1)
    cov = {
        layer: torch.addr(product, moments.sums[where], mean[where], alpha=-1) / (moments.num_images - 1).clamp(min=1)
        for layer, (where, product) in zip(moments.products, moments.layers(), strict=True)
    }
    return moments.shift + mean, cov


def _move_(product: Tensor, sums: Tensor, num_images: Tensor, offset: Tensor) -> None:
    """Add ``offset`` to each x - c, whose products are in ``product`` and whose sums are in ``sums``."""
    # S d' + d S' + n d d', as two updates that need no room and leave the product symmetric
    half = sums + offset * (num_images / 2)
    product.addr_(half, offset).addr_(offset, half)
