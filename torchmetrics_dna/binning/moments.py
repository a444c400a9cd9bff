"""Moments of each neuron's spatial means, the statistics of the paper's Gaussian DNA, and of their products, for fd.

Products within a layer are taken about a shift near the mean, to avoid catastrophic cancellation where the mean is much
larger than the spread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor

from torchmetrics_dna.binning.counting import compiled_for
from torchmetrics_dna.binning.histogram import check_finite
from torchmetrics_dna.binning.layouts import chunks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torchmetrics_dna.binning.layouts import Parts


def add_moments_(moments: Tensor, parts: Parts, accepted: Tensor | None = None) -> None:
    """Add the moments of all layers in place; bad activations change nothing.

    Args:
        moments: Sums and sums of squares, over images, of each neuron's spatial mean (section 3.1 of the paper), shape
            ``(2, N)``, layers concatenated. In float64, the variance computed from them is accurate to about 1e-11 of
            the squared mean.
        parts: Activations.
        accepted: As in :func:`add_counts_`.

    """
    if accepted is None:
        check_finite(parts)
    by_layer = [spatial_means([part[layer] for part in parts]) for layer in parts[0]]
    sums = torch.cat([torch.stack([means.sum(1), means.square().sum(1)]) for means in by_layer], dim=1)
    moments += sums if accepted is None else torch.where(accepted > 0, sums, 0.0)


def spatial_means(pieces: Sequence[Tensor]) -> Tensor:
    """Average over positions, float64, shape ``(n, B)``, for consecutive parts of a batch, ``(b, n, *positions)``."""
    if all(piece.numel() for piece in pieces):
        compiled = compiled_for([{"activations": piece} for piece in pieces])
        if compiled:
            return cast("Tensor", compiled.spatial_means(pieces))
    return torch.cat([_plain_means(piece) for piece in pieces], 1)


def _plain_means(activations: Tensor) -> Tensor:
    images, neurons = activations.shape[:2]
    means = activations.new_empty((neurons, images), dtype=torch.float64)
    first = 0
    for rows, values in chunks(activations):
        means[rows, first : first + values.shape[1]] = values.double().mean(2)
        first = (first + values.shape[1]) % max(1, images)
    return means


class CrossMoments(NamedTuple):
    """Sums over images, with x the spatial means of a layer and c its shift; all float64."""

    num_images: Tensor  # a scalar
    shift: Tensor  # c, (N,), layers concatenated
    sums: Tensor  # of x - c, (N,)
    products: Mapping[str, Tensor]  # of (x - c) (x - c)', {layer: (n, n)}

    def layers(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield the slice of each layer in the flat tensors, and its products."""
        first = 0
        for product in self.products.values():
            yield slice(first, first + len(product)), product
            first += len(product)


def add_cross_moments_(moments: CrossMoments, parts: Parts, accepted: Tensor | None = None) -> None:
    """Add the spatial means of a batch in place, except for their number; bad activations change nothing.

    The mean of the first batch becomes the shift, without a device sync.

    Args:
        moments: Moments, with layers in the order of ``parts``.
        parts: Activations.
        accepted: As in :func:`add_counts_`.

    """
    if accepted is None:
        check_finite(parts)
    means = [spatial_means([part[layer] for part in parts]) for layer in parts[0]]
    batch = means[0].shape[1]
    first = torch.cat([mean.sum(1) for mean in means]) / max(1, batch)
    keep = moments.num_images > 0
    moments.shift.copy_(torch.where(keep if accepted is None else keep | (accepted < 1), moments.shift, first))
    for (columns, product), mean in zip(moments.layers(), means, strict=True):
        mean -= moments.shift[columns, None]
        if accepted is not None:
            mean.copy_(torch.where(accepted > 0, mean, 0.0))
        moments.sums[columns] += mean.sum(1)
        product.addmm_(mean, mean.T)


def merge_cross_moments_(moments: CrossMoments, other: CrossMoments) -> None:
    """Add the moments of other images in place, except for their number; empty moments take the other shift."""
    moments.shift.copy_(torch.where(moments.num_images > 0, moments.shift, other.shift))
    offset = other.shift - moments.shift
    for (columns, product), theirs in zip(moments.layers(), other.products.values(), strict=True):
        product += theirs
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
    mean = moments.sums / moments.num_images.clamp(min=1)
    cov = {
        layer: torch.addr(product, moments.sums[columns], mean[columns], alpha=-1)
        / (moments.num_images - 1).clamp(min=1)
        for layer, (columns, product) in zip(moments.products, moments.layers(), strict=True)
    }
    return moments.shift + mean, cov


def _move_(product: Tensor, sums: Tensor, num_images: Tensor, offset: Tensor) -> None:
    """Add ``offset`` to each x - c, whose products are in ``product`` and whose sums are in ``sums``."""
    # S d' + d S' + n d d', as two in-place updates that keep the product symmetric
    half = sums + offset * (num_images / 2)
    product.addr_(half, offset).addr_(offset, half)
