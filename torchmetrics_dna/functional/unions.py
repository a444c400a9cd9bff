"""Batched distances between unions of folds, for permutation tests and jackknives.

Each row of ``in_a`` and ``in_b`` is a mask of the K folds of one side, bool, shape ``(P, K)``; a fold may be in neither
side. Counts of folds are added as integers, so that results are bitwise independent of the order of the work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from torchmetrics_dna.functional.features import CMMD_SCALE, blocks, kernel_less_one, unit_rows
from torchmetrics_dna.functional.layer_frechet import layer_frechet_distance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

_CELLS = 1 << 18  # float64 values at a time, 2 MB, to fit the cache
_STEPS = 1 << 12  # resolution of positions within a bin
_ROUNDING = 1e-9  # bins, or relative to the largest mean; smaller differences are 0 up to rounding


def emd_of_unions(counts: Tensor, in_a: Tensor, in_b: Tensor, within: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Compute the EMD, Eq. (3), of each neuron between unions of folds, in bins, float64, ``(P, N)``.

    Args:
        counts: Counts of each fold, integers, shape ``(K, N, num_bins)``, in the same bins.
        in_a: Folds in A.
        in_b: Folds in B.
        within: Lower and upper bounds to which activations are clipped, in bins, shape ``(N,)``, float64.

    Example:
        >>> folds = torch.tensor([[[4, 0, 0]], [[0, 4, 0]], [[0, 0, 4]]])
        >>> emd_of_unions(folds, torch.tensor([[True, False, False]]), torch.tensor([[False, True, True]]))
        tensor([[1.5000]], dtype=torch.float64)

    """
    a, b = in_a.double(), in_b.double()
    cumulative = counts.cumsum(2).double()  # integers below 2^53, so sums are exact
    totals = cumulative[:, :, -1].clone()
    lengths = None if within is None else _clip_(cumulative, counts, *within)
    share_a, share_b = (1 / (side @ totals) for side in (a, b))
    is_partition = bool((in_a ^ in_b).all())  # each fold is on one side: one product is enough
    distances = torch.empty(len(a), counts.shape[1], dtype=torch.float64, device=counts.device)
    for rows in blocks(counts.shape[1], len(a) * counts.shape[2], _CELLS):
        chunk, scale_a, scale_b = cumulative[:, rows], share_a[:, rows, None], share_b[:, rows, None]
        sums = torch.tensordot(a, chunk, 1)
        if is_partition:
            difference = sums.mul_(scale_a + scale_b).addcmul_(chunk.sum(0), scale_b, value=-1)
        else:
            difference = sums.mul_(scale_a).addcmul_(torch.tensordot(b, chunk, 1), scale_b, value=-1)
        difference = difference.abs_()
        distances[:, rows] = (difference if lengths is None else difference.mul_(lengths[rows])).sum(2)
    return torch.where(distances > _ROUNDING, distances, 0)


def sums_of_histograms(counts: Tensor, within: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """Sum the activations of each neuron in each fold, in bins below the upper end, and count them, ``(K, N)`` each.

    Arguments are those of :func:`emd_of_unions`; the absolute difference of two means is at most the EMD.
    """
    cumulative = counts.cumsum(2).double()
    totals = cumulative[:, :, -1].clone()
    if within is not None:
        cumulative *= _clip_(cumulative, counts, *within)
    return cumulative.sum(2), totals


def shift_of_unions(sums: Tensor, totals: Tensor, in_a: Tensor, in_b: Tensor) -> Tensor:
    """Compute the signed difference of the mean of each neuron, float64, ``(P, N)``; 0 where only rounding is left.

    ``sums`` over each fold have shape ``(K, N)``; ``totals``, their numbers of values, ``(K, N)`` or ``(K, 1)``.

    Example:
        >>> sums, sizes = torch.tensor([[2.0], [8.0], [1.0]]), torch.tensor([[1.0], [2.0], [1.0]])
        >>> shift_of_unions(sums, sizes, torch.tensor([[True, False, True]]), torch.tensor([[False, True, False]]))
        tensor([[-2.5000]], dtype=torch.float64)

    """
    sums = sums.double()
    totals = totals.to(sums)
    a, b = ((side @ sums) / (side @ totals) for side in (in_a.to(sums), in_b.to(sums)))
    shift = a - b
    return torch.where(shift.abs() > _ROUNDING * (sums / totals).abs().amax(0), shift, 0)


def _clip_(cumulative: Tensor, counts: Tensor, begin: Tensor, end: Tensor) -> Tensor:
    """Evaluate cumulative counts at the upper bound, in place; return the widths of clipped bins, ``(N, num_bins)``.

    Cumulative counts are linear within a bin, as in :func:`torchmetrics_dna.functional.emd.dna_emd_on_grid`.
    """
    num_bins = counts.shape[2]
    edges = torch.arange(num_bins + 1, dtype=torch.float64, device=counts.device)
    clipped = edges.clamp(begin[:, None], end[:, None])
    last = (end.ceil() - 1).clamp(0, num_bins - 1).long()[None, :, None].expand(len(counts), -1, 1)
    # a dyadic fraction, so that sums of cumulative counts stay exact
    beyond = 1 - ((end[:, None] - last[0]).clamp(0, 1) * _STEPS).round() / _STEPS
    cumulative.scatter_add_(2, last, -counts.gather(2, last) * beyond)
    return clipped.diff(dim=1)


def frechet_of_unions(means: Tensor, variances: Tensor, sizes: Tensor, in_a: Tensor, in_b: Tensor) -> Tensor:
    """Compute the 1-D Fréchet distance of each neuron between unions of folds, in squared activations, ``(P, N)``.

    It is NaN where a side has fewer than two images.

    Args:
        means: Mean of each fold's spatial means, shape ``(K, N)``.
        variances: Unbiased variance of each fold's spatial means, shape ``(K, N)``; 0 for one image.
        sizes: Number of images of each fold, shape ``(K,)``.
        in_a: Folds in A.
        in_b: Folds in B.

    """
    means, variances = means.double(), variances.double()
    counts = sizes.to(means)[:, None]
    shifted = means - (counts * means).sum(0) / counts.sum()  # centred to avoid cancellation in sums of squares
    sums, squares = counts * shifted, variances * (counts - 1).clamp(min=0) + counts * shifted.square()
    distances = means.new_zeros(len(in_a), means.shape[1])
    sides = []
    for side in (in_a.to(means), in_b.to(means)):
        images = side @ counts
        mean = (side @ sums) / images
        variance = ((side @ squares) - images * mean.square()).clamp(min=0) / (images - 1)
        sides.append((mean, torch.where(images > 1, variance, torch.nan)))
    for a, b in zip(*sides, strict=True):
        distances += (a - b if a is sides[0][0] else a.sqrt() - b.sqrt()).square()
    return distances


def layer_frechet_of_unions(features: Tensor, folds: Tensor, in_a: Tensor, in_b: Tensor) -> Tensor:
    """Compute the Fréchet distance (fd) of one layer between unions of folds, in squared activations, ``(P,)``.

    For few images, it is computed from their Gram matrix ``(images, images)``; for many, from covariances ``(n, n)``.
    Both equal :func:`layer_frechet_distance` up to rounding.

    Args:
        features: Spatial means of the layer's neurons for each image, shape ``(images, n)``.
        folds: Fold of each image, from 0 to K - 1, shape ``(images,)``.
        in_a: Folds in A; each row has two images or more.
        in_b: Folds in B.

    Example:
        >>> features = torch.tensor([[0.0], [2.0], [3.0], [5.0]])
        >>> layer_frechet_of_unions(features, torch.arange(4) // 2, torch.eye(2).bool()[:1], torch.eye(2).bool()[1:])
        tensor([9.], dtype=torch.float64)

    """
    features = features.double()
    features = features - features.mean(0)  # centred to avoid cancellation in products
    sides = in_a[:, folds], in_b[:, folds]
    if len(features) <= 2 * features.shape[1]:  # a side then has fewer images than neurons
        products = features @ features.T
        distances = [_of_products(products, *pair) for pair in zip(*sides, strict=True)]
    else:
        distances = [
            layer_frechet_distance(*a, *b) for a, b in zip(*(_moments(features, s) for s in sides), strict=True)
        ]
    return torch.stack(distances)


def kernel_of_unions(features: Tensor, folds: Tensor, in_a: Tensor, in_b: Tensor) -> Tensor:
    """Compute the unbiased kernel distance (squared MMD, with KID's cubic kernel) between unions of folds, ``(P, 1)``.

    Arguments are those of :func:`layer_frechet_of_unions`.
    """
    kernels, diagonal = _by_folds(features.double(), folds, in_a, lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3)
    sizes = folds.bincount(minlength=in_a.shape[1]).double()
    a, b = in_a.double(), in_b.double()
    within = []
    for side in (a, b):
        images = side @ sizes
        within.append((((side @ kernels) * side).sum(1) - side @ diagonal) / (images * (images - 1)))
    between = ((a @ kernels) * b).sum(1) / ((a @ sizes) * (b @ sizes))
    return (within[0] + within[1] - 2 * between)[:, None]


def cmmd_of_unions(embeddings: Tensor, folds: Tensor, in_a: Tensor, in_b: Tensor) -> Tensor:
    """Compute CMMD between unions of folds; arguments and result are those of :func:`kernel_of_unions`."""
    kernels, _ = _by_folds(unit_rows(embeddings), folds, in_a, kernel_less_one)
    sizes = folds.bincount(minlength=in_a.shape[1]).double()
    shares = [side / (side @ sizes)[:, None] for side in (in_a.double(), in_b.double())]
    change = shares[0] - shares[1]
    return CMMD_SCALE * ((change @ kernels) * change).sum(1, keepdim=True).clamp(min=0)


def _by_folds(
    features: Tensor, folds: Tensor, masks: Tensor, kernel: Callable[[Tensor, Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Sum a kernel over pairs of images by folds, ``(K, K)``, and over images with themselves, ``(K,)``."""
    num_folds, device = masks.shape[1], features.device
    sums = torch.zeros(num_folds, num_folds, dtype=torch.float64, device=device)
    diagonal = torch.zeros(num_folds, dtype=torch.float64, device=device)
    for rows in blocks(len(features), len(features), _CELLS << 3):
        values = kernel(features[rows], features)
        by_fold = torch.zeros(num_folds, len(features), dtype=torch.float64, device=device)
        by_fold.index_add_(0, folds[rows], values)
        sums.index_add_(1, folds, by_fold)
        diagonal.index_add_(0, folds[rows], values.diagonal(rows.start))
    return sums, diagonal


def _of_products(products: Tensor, in_a: Tensor, in_b: Tensor) -> Tensor:
    """Compute fd of two sides, masks ``(images,)``, from the Gram matrix of all images, ``(images, images)``.

    The trace of the root of the product of two covariances is the sum of the singular values of the centred
    cross-Gram matrix of the two sides.
    """
    a, b = (side.nonzero()[:, 0] for side in (in_a, in_b))
    mean_a, mean_b = (products[side][:, side].mean() for side in (a, b))
    between = products[a][:, b]
    distance = mean_a + mean_b - 2 * between.mean()
    for side, mean in ((a, mean_a), (b, mean_b)):
        distance += (products.diagonal()[side].sum() - len(side) * mean) / (len(side) - 1)
    centred = between - between.mean(0) - between.mean(1, keepdim=True) + between.mean()
    distance -= 2 * torch.linalg.svdvals(centred).sum() / ((len(a) - 1) * (len(b) - 1)) ** 0.5
    return distance.clamp(min=0)


def _moments(features: Tensor, sides: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the mean and unbiased covariance of each side, a row of the mask ``(P, images)``.

    Sums are updated from one row to the next by the images that are added or removed.
    """
    sums, products = (features.new_zeros(shape) for shape in (features.shape[1], (features.shape[1],) * 2))
    previous = torch.zeros_like(sides[0])
    for side in sides:
        changed = side ^ previous
        updates = features[changed]
        signed = torch.where(side[changed], 1.0, -1.0).to(updates)[:, None] * updates
        sums += signed.sum(0)
        products += signed.T @ updates
        previous, count = side, side.sum()
        yield sums / count, (products - torch.outer(sums, sums) / count) / (count - 1)
