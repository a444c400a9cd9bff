"""Distances between unions of folds, many at a time: what permutation tests and jackknives ask for.

Each row of ``in_a`` and ``in_b`` says which of K folds make up one side, bool, shape ``(P, K)``; a fold may be in
neither. Images of folds are added up as integers where they are counts, so that results are the same to the last bit
for any order of the work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from torchmetrics_dna.functional.layer_frechet import layer_frechet_distance
from torchmetrics_dna.functional.mean_discrepancy import SCALE, kernel_less_one, unit_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

_CELLS = 1 << 18  # of float64 at a time, 2 MB, which stay in the processor's cache
_STEPS = 1 << 12  # in a bin, of a position within it
_ROUNDING = 1e-9  # bins; what differs by less is equal, and must not be divided by a spread that is as small


def emd_of_unions(counts: Tensor, in_a: Tensor, in_b: Tensor, within: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Earth Mover's Distance, Eq. (3), of each neuron between unions of folds, in bins.

    Args:
        counts: Of each fold, integers, shape ``(K, N, num_bins)``, all in the same bins.
        in_a: Which folds are in A, bool, shape ``(P, K)``; each row has one with images.
        in_b: Likewise.
        within: Bounds beyond which activations are clipped, as positions in bins, two of shape ``(N,)``, float64; None
            for no clipping.

    Returns:
        float64, shape ``(P, N)``.

    Example:
        >>> folds = torch.tensor([[[4, 0, 0]], [[0, 4, 0]], [[0, 0, 4]]])
        >>> emd_of_unions(folds, torch.tensor([[True, False, False]]), torch.tensor([[False, True, True]]))
        tensor([[1.5000]], dtype=torch.float64)

    """
    a, b = in_a.double(), in_b.double()
    cumulative = counts.cumsum(2).double()  # integers below 2^53, so that sums of them are exact
    totals = cumulative[:, :, -1].clone()
    lengths = None if within is None else _clip_(cumulative, counts, *within)
    share_a, share_b = (1 / (side @ totals) for side in (a, b))
    rest = bool((in_a ^ in_b).all())  # each fold is on one side, so that one product is enough
    found = torch.empty(len(a), counts.shape[1], dtype=torch.float64, device=counts.device)
    for rows in _chunks(counts.shape[1], max(1, _CELLS // (len(a) * counts.shape[2]))):
        some, of_a, of_b = cumulative[:, rows], share_a[:, rows, None], share_b[:, rows, None]
        sums = torch.tensordot(a, some, 1)
        if rest:
            difference = sums.mul_(of_a + of_b).addcmul_(some.sum(0), of_b, value=-1)
        else:
            difference = sums.mul_(of_a).addcmul_(torch.tensordot(b, some, 1), of_b, value=-1)
        difference = difference.abs_()
        found[:, rows] = (difference if lengths is None else difference.mul_(lengths[rows])).sum(2)
    return torch.where(found > _ROUNDING, found, 0)


def _clip_(cumulative: Tensor, counts: Tensor, begin: Tensor, end: Tensor) -> Tensor:
    """Read the bin in which bounds end at that end, in place; return how much of each bin they hold, ``(N, num_bins)``.

    Cumulative counts run straight within a bin, as in :func:`torchmetrics_dna.functional.dna_emd_on_grid`.
    """
    num_bins = counts.shape[2]
    edges = torch.arange(num_bins + 1, dtype=torch.float64, device=counts.device)
    clipped = edges.clamp(begin[:, None], end[:, None])
    last = (end.ceil() - 1).clamp(0, num_bins - 1).long()[None, :, None].expand(len(counts), -1, 1)
    # a multiple of a power of two, so that sums of cumulative counts stay exact
    beyond = 1 - ((end[:, None] - last[0]).clamp(0, 1) * _STEPS).round() / _STEPS
    cumulative.scatter_add_(2, last, -counts.gather(2, last) * beyond)
    return clipped.diff(dim=1)


def frechet_of_unions(means: Tensor, variances: Tensor, sizes: Tensor, in_a: Tensor, in_b: Tensor) -> Tensor:
    """1-D Fréchet distance of each neuron between unions of folds, in squared activations.

    Args:
        means: Of each fold's spatial means, float64, shape ``(K, N)``.
        variances: Likewise; unbiased, 0 for one image.
        sizes: Images of each fold, shape ``(K,)``.
        in_a: Which folds are in A, bool, shape ``(P, K)``.
        in_b: Likewise.

    Returns:
        float64, shape ``(P, N)``; NaN where a side has fewer than two images.

    """
    number = sizes.double()[:, None]
    shifted = means - (number * means).sum(0) / number.sum()  # about the common mean, sums of squares lose no digits
    sums, squares = number * shifted, variances * (number - 1).clamp(min=0) + number * shifted.square()
    found = torch.zeros(len(in_a), means.shape[1], dtype=torch.float64, device=means.device)
    sides = []
    for side in (in_a.double(), in_b.double()):
        images = side @ number
        mean = (side @ sums) / images
        variance = ((side @ squares) - images * mean.square()).clamp(min=0) / (images - 1)
        sides.append((mean, torch.where(images > 1, variance, torch.nan)))
    for one, other in zip(*sides, strict=True):
        found += (one - other if one is sides[0][0] else one.sqrt() - other.sqrt()).square()
    return found


def layer_frechet_of_unions(features: Tensor, folds: Tensor, in_a: Tensor, in_b: Tensor) -> Tensor:
    """Fréchet distance (fd) of one layer between unions of folds, in squared activations.

    Of few images, it comes from products of images, ``(images, images)``; of many, from covariances, ``(n, n)``. Both
    give :func:`layer_frechet_distance` but for rounding.

    Args:
        features: Spatial means of the layer's neurons, of each image, shape ``(images, n)``.
        folds: The fold of each image, from 0 to K - 1, shape ``(images,)``.
        in_a: Which folds are in A, bool, shape ``(P, K)``; each row has two images or more.
        in_b: Likewise.

    Returns:
        float64, shape ``(P,)``.

    Example:
        >>> features = torch.tensor([[0.0], [2.0], [3.0], [5.0]])
        >>> layer_frechet_of_unions(features, torch.arange(4) // 2, torch.eye(2).bool()[:1], torch.eye(2).bool()[1:])
        tensor([9.], dtype=torch.float64)

    """
    features = features.double()
    features = features - features.mean(0)  # about the common mean, products lose no digits
    sides = in_a[:, folds], in_b[:, folds]
    if len(features) <= 2 * features.shape[1]:  # then a side has fewer images than there are neurons
        products = features @ features.T
        found = [_of_products(products, *pair) for pair in zip(*sides, strict=True)]
    else:
        found = [layer_frechet_distance(*a, *b) for a, b in zip(*(_moments(features, s) for s in sides), strict=True)]
    return torch.stack(found)


def kernel_of_unions(features: Tensor, folds: Tensor, num_folds: int, in_a: Tensor, in_b: Tensor) -> Tensor:
    """Unbiased kernel distance (squared MMD, by KID's kernel of degree 3) between unions of folds, of all images.

    Args:
        features: Of each image, shape ``(images, n)``.
        folds: The fold of each image, from 0 to ``num_folds - 1``, shape ``(images,)``.
        num_folds: How many folds.
        in_a: Which folds are in A, bool, shape ``(P, num_folds)``; each row has two images or more.
        in_b: Likewise.

    Returns:
        float64, shape ``(P, 1)``.

    """
    features = features.double()
    blocks, diagonal = _kernel_blocks(features, folds, num_folds, lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3)
    sizes = folds.bincount(minlength=num_folds).double()
    a, b = in_a.double(), in_b.double()
    within = []
    for side in (a, b):
        images = side @ sizes
        within.append((((side @ blocks) * side).sum(1) - side @ diagonal) / (images * (images - 1)))
    between = ((a @ blocks) * b).sum(1) / ((a @ sizes) * (b @ sizes))
    return (within[0] + within[1] - 2 * between)[:, None]


def cmmd_of_unions(embeddings: Tensor, folds: Tensor, num_folds: int, in_a: Tensor, in_b: Tensor) -> Tensor:
    """CMMD between unions of folds, of all images; arguments and result as for :func:`kernel_of_unions`."""
    blocks, _ = _kernel_blocks(unit_rows(embeddings), folds, num_folds, kernel_less_one)
    sizes = folds.bincount(minlength=num_folds).double()
    shares = [side / (side @ sizes)[:, None] for side in (in_a.double(), in_b.double())]
    change = shares[0] - shares[1]
    return SCALE * ((change @ blocks) * change).sum(1, keepdim=True).clamp(min=0)


def _kernel_blocks(
    features: Tensor, folds: Tensor, num_folds: int, kernel: Callable[[Tensor, Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Sums of a kernel over pairs of images, by their folds, ``(K, K)``, and over images with themselves, ``(K,)``."""
    blocks = torch.zeros(num_folds, num_folds, dtype=torch.float64, device=features.device)
    diagonal = torch.zeros(num_folds, dtype=torch.float64, device=features.device)
    for rows in _chunks(len(features), max(1, (_CELLS << 3) // len(features))):
        values = kernel(features[rows], features)
        by_fold = torch.zeros(num_folds, len(features), dtype=torch.float64, device=features.device)
        by_fold.index_add_(0, folds[rows], values)
        blocks.index_add_(1, folds, by_fold)
        place = torch.arange(len(values), device=features.device)
        diagonal.index_add_(0, folds[rows], values[place, place + rows.start])
    return blocks, diagonal


def _of_products(products: Tensor, in_a: Tensor, in_b: Tensor) -> Tensor:
    """Fd of two sides from the products of all images, ``(images, images)``; of which images, ``(images,)``, bool.

    The trace of the root of the product of two covariances is the sum of the singular values of the products between
    the centred images of either side.
    """
    a, b = (side.nonzero()[:, 0] for side in (in_a, in_b))
    of_a, of_b = (products[side][:, side].mean() for side in (a, b))
    between = products[a][:, b]
    distance = of_a + of_b - 2 * between.mean()
    for side, mean in ((a, of_a), (b, of_b)):
        distance += (products.diagonal()[side].sum() - len(side) * mean) / (len(side) - 1)
    centred = between - between.mean(0) - between.mean(1, keepdim=True) + between.mean()
    distance -= 2 * torch.linalg.svdvals(centred).sum() / ((len(a) - 1) * (len(b) - 1)) ** 0.5
    return distance.clamp(min=0)


def _moments(features: Tensor, sides: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Mean and unbiased covariance of the images of a side, one side after another, bool, ``(P, images)``.

    From one side to the next, only images that come or go are added or taken away.
    """
    sums, products = (features.new_zeros(shape) for shape in (features.shape[1], (features.shape[1],) * 2))
    before = torch.zeros_like(sides[0])
    for side in sides:
        changed = side ^ before
        some = features[changed]
        signed = torch.where(side[changed], 1.0, -1.0).to(some)[:, None] * some
        sums += signed.sum(0)
        products += signed.T @ some
        before, count = side, side.sum()
        yield sums / count, (products - torch.outer(sums, sums) / count) / (count - 1)


def _chunks(length: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, length)) for start in range(0, length, size))
