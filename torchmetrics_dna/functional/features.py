"""Metrics of the features of single images: KID, CMMD, MIND, precision and recall, inception score; all in float64."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from torchmetrics_dna.functional.reduction import blocks

# The constants of metrics are as published, or as in torchmetrics.
# KID: number of random subsets, and images per subset.
SUBSETS = 100
SUBSET_SIZE = 1000
# CMMD: factor of the result, and bandwidth of the kernel.
CMMD_SCALE = 1000.0
_CMMD_SIGMA = 10.0
# MIND: number of random projections, their seed, and factor of the result.
NUM_PROJECTIONS = 1000
SEED = 2020
_MIND_SCALE = 3
# Number of nearest neighbours of density and coverage, clipped or not.
NEAREST = 5
# Inception score: number of splits, and seed of the order, as in torch-fidelity.
_SPLITS = 10
_SEED_OF_ORDER = 2020
# Number of values at a time.
_CELLS = 1 << 22
# Rounding error of the expectation over a hundred thousand images.
_ROUNDING = 1e-9


class TooFewImagesError(RuntimeError):
    """Raised if a set has too few images for a distance."""


def too_few(distance: str, least: int, counts: Sequence[int]) -> TooFewImagesError:
    """Return the error for sets of ``counts`` images, of which a distance requires at least ``least``."""
    if least == 1:
        required = "At least one image is"
    elif least == 2:
        required = "More than one image is"
    else:
        required = f"At least {least} images are"
    sides = " for both sides" if len(counts) > 1 else ""
    return TooFewImagesError(
        f"{required} required{sides} to compute {distance}, but got {' and '.join(map(str, counts))}"
    )


def kernel_distance(a: Tensor, b: Tensor) -> tuple[float, float]:
    """Compute KID between two sets of features with torchmetrics, using a fixed seed.

    Args:
        a: Features of A, shape ``(images, n)``.
        b: Features of B, shape ``(images, n)``; the number of images may differ.

    Returns:
        Mean and standard deviation over 100 random subsets of 1000 images, or of the size of the smaller set. For sets
        of one size up to that, the only subset is all images, with deviation 0.

    Raises:
        ValueError: If shapes do not match, or a value is not finite.
        RuntimeError: If a set has fewer than two images.

    Example:
        >>> features = torch.rand(50, 8, generator=torch.Generator().manual_seed(0))
        >>> mean, deviation = kernel_distance(features, features + 1)
        >>> mean > 1, deviation
        (True, 0.0)

    """
    size = min(SUBSET_SIZE, len(a), len(b))
    if size < 2:
        raise too_few("kid", 2, (len(a), len(b)))
    _check(a, b, "kid")
    # The import is slow.
    from torchmetrics.image.kid import KernelInceptionDistance

    has_only_one_subset = size == len(a) == len(b)
    subsets = 1 if has_only_one_subset else SUBSETS
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", "Metric `Kernel Inception Distance` will save all", UserWarning)
        torch.default_generator.manual_seed(0)
        # The features of all processes are gathered already, so there is nothing to sync.
        metric = KernelInceptionDistance(nn.Identity(), subsets, size, sync_on_compute=False)
        metric.update(a.double(), real=True)
        metric.update(b.double(), real=False)
        mean, deviation = metric.compute()
    return float(mean), float(deviation)


def cmmd(embeddings_a: Tensor, embeddings_b: Tensor) -> Tensor:
    r"""Compute CMMD (`Jayasumana et al., CVPR 2024 <https://arxiv.org/abs/2401.09603>`_) of two sets of embeddings.

    .. math::
        1000 \left( \overline{k(a, a')} + \overline{k(b, b')} - 2\, \overline{k(a, b)} \right), \qquad
        k(x, y) = \exp\left(-\frac{|x - y|^2}{2 \sigma^2}\right), \quad \sigma = 10

    with means over all pairs, including each image with itself: the biased estimator, as published. Rows are normalized
    first. The computation is in float64; that of the published code in float32 is accurate to about three digits.

    Args:
        embeddings_a: Embeddings of A, ``(images, n)``, floating point; published for CLIP's projected embeddings.
        embeddings_b: Embeddings of B, ``(images, n)``; the number of images may differ.

    Returns:
        A scalar, float64, 0 or more, without unit.

    Raises:
        ValueError: If shapes do not match, a value is not finite, or a row is all zeros.
        RuntimeError: If a set is empty.

    Example:
        >>> a, b = torch.tensor([[1.0, 0.0], [2.0, 0.0]]), torch.tensor([[0.0, 3.0]])
        >>> cmmd(a, b), cmmd(a, a)
        (tensor(19.9003, dtype=torch.float64), tensor(0., dtype=torch.float64))

    """
    _check(embeddings_a, embeddings_b, "cmmd")
    a = _sorted_rows(unit_rows(embeddings_a))
    b = _sorted_rows(unit_rows(embeddings_b))
    difference = _mean_kernel(a, a) + _mean_kernel(b, b) - 2 * _mean_kernel(a, b)
    return CMMD_SCALE * difference.clamp(min=0)


def _sorted_rows(rows: Tensor) -> Tensor:
    """Sort rows by their sum, so that rounding does not depend on the order of images."""
    return rows[rows.sum(1).argsort()]


def unit_rows(embeddings: Tensor) -> Tensor:
    """Normalize rows, float64; ValueError if a row is all zeros."""
    embeddings = embeddings.double()
    norms = embeddings.norm(dim=1, keepdim=True)
    if (norms == 0).any():
        raise ValueError("Expected embeddings with a direction, but got a row of zeros")
    unit: Tensor = embeddings / norms
    return unit


def kernel_less_one(a: Tensor, b: Tensor) -> Tensor:
    """Compute CMMD's kernel of rows of unit length, and subtract its maximum, 1, to keep precision.

    Shape ``(len(a), len(b))``.
    """
    return (((a @ b.T).clamp(max=1) - 1) / _CMMD_SIGMA**2).expm1()


def _mean_kernel(a: Tensor, b: Tensor) -> Tensor:
    """Compute the mean of :func:`kernel_less_one` over all pairs of rows."""
    total = a.new_zeros(())
    for block in blocks(len(a), len(b), _CELLS):
        rows = a[block]
        if b is a:
            # Rows after the block form two pairs with each row of the block, in either order.
            following = a[block.stop :]
            total += kernel_less_one(rows, rows).sum() + 2 * kernel_less_one(rows, following).sum()
        else:
            total += kernel_less_one(rows, b).sum()
    return total / (len(a) * len(b))


def mind(features_a: Tensor, features_b: Tensor, *, num_projections: int = NUM_PROJECTIONS, seed: int = SEED) -> Tensor:
    r"""Compute the Monge Inception Distance (MIND) between two sets of features.

    .. math::
        \text{MIND} = \frac{3 n}{M} \sum_{m=1}^M \frac{1}{K} \sum_{k=1}^K \left( a^m_{(k)} - b^m_{(k)} \right)^2

    where :math:`a^m_{(k)}` is the k-th smallest projection of A's features on direction m: the squared 2-Wasserstein
    distance along a random direction, as the mean of M, times 3 n (`Berthet et al., 2026
    <https://arxiv.org/abs/2605.06797>`_). Directions are drawn like those of torch-fidelity, so equal features
    and seeds reproduce its values. A larger set is subsampled at random to the size of the smaller; only then does the
    value depend on the order of rows.

    Args:
        features_a: Features of A, shape ``(images, n)``, floating point.
        features_b: Features of B, shape ``(images, n)``; the number of images may differ.
        num_projections: Number of directions, M.
        seed: Seed of directions and subsample.

    Returns:
        A scalar, float64, 0 or more, in squared activations.

    Raises:
        ValueError: If shapes do not match, a value is not finite, or an argument has an invalid value.
        RuntimeError: If a set is empty.

    Example:
        >>> features = torch.rand(50, 8, generator=torch.Generator().manual_seed(0))
        >>> mind(features, features)
        tensor(0., dtype=torch.float64)
        >>> mind(features, features + 0.5, num_projections=10).shape
        torch.Size([])

    """
    check_integer("num_projections", num_projections, least=1)
    check_integer("seed", seed, least=0)
    _check(features_a, features_b, "mind")
    generator = torch.Generator().manual_seed(seed)
    images = min(len(features_a), len(features_b))
    a = _subsample(features_a, images, generator).double()
    b = _subsample(features_b, images, generator).double()
    directions = torch.randn(num_projections, a.shape[1], generator=generator)
    directions = (directions / directions.norm(dim=1, keepdim=True)).to(a)
    total = a.new_zeros(())
    for block in blocks(num_projections, images, _CELLS):
        sorted_a = (directions[block] @ a.T).sort(1).values
        sorted_b = (directions[block] @ b.T).sort(1).values
        total += (sorted_a - sorted_b).square().sum()
    return total * _MIND_SCALE * a.shape[1] / (num_projections * images)


def _subsample(features: Tensor, images: int, generator: torch.Generator) -> Tensor:
    """Subsample rows at random; the generator is not used if all rows are needed."""
    if len(features) == images:
        return features
    order = torch.randperm(len(features), generator=generator)
    return features[order[:images].to(features.device)]


def prdc(features_real: Tensor, features_fake: Tensor, nearest_k: int = NEAREST) -> dict[str, Tensor]:
    r"""Compute precision and recall, and density and coverage, clipped and plain, of fake features.

    The ball of an image reaches to its k-th nearest neighbour in its own set. Precision is the share of fake images
    inside a real ball, recall that of real images inside a fake one (`Kynkäänniemi et al., 2019
    <https://arxiv.org/abs/1904.06991>`_). Density is the number of real balls that a fake image lies in, over k, and
    coverage the share of real balls with a fake image inside (`Naeem et al., 2020
    <https://arxiv.org/abs/2002.09797>`_). A copy of an image lies in its ball, also in one without extent.

    Clipped density and coverage (`Salvy et al., ICLR 2026 <https://arxiv.org/abs/2507.01761>`_) are about 1 for images
    of the real kind, and 1 - p where a share p is of another. For density, no radius is above the median, no image
    counts more than 1, and the mean is divided by that of real images in the balls of others. For coverage, a real ball
    with J fake images inside counts :math:`\min(J, k) / k`. The mean over balls is set against its expectation
    :math:`f(m)` if m of the M fake images were of the real kind, where J is beta-binomial with parameters m, k and
    N - k for N real images: coverage is the number of m in 0 to M whose :math:`f(m)` is smaller, over M + 1.

    Args:
        features_real: Real features, shape ``(images, n)``, floating point.
        features_fake: Fake features, shape ``(images, n)``. The number of images may differ, but all except clipped
            ones depend on it, and clipped coverage needs as many real images.
        nearest_k: Rank of the neighbour, k.

    Returns:
        ``precision``, ``recall``, ``clipped_density``, ``clipped_coverage``, ``density`` and ``coverage``, scalars,
        float64; higher is better. Density may be above 1, the others are from 0 to 1.

    Raises:
        ValueError: If shapes do not match, a value is not finite, or ``nearest_k`` is not a positive integer.
        RuntimeError: If a set has no more than ``nearest_k`` images.

    Example:
        >>> real = torch.arange(8.0)[:, None]
        >>> values = prdc(real, real + 2.2, nearest_k=1)
        >>> values["precision"], values["density"], values["clipped_density"]
        (tensor(0.7500, dtype=torch.float64), tensor(1.3750, dtype=torch.float64), tensor(0.7500, dtype=torch.float64))

    """
    check_integer("nearest_k", nearest_k, least=1)
    _check(features_real, features_fake, "prdc")
    real = features_real.double()
    fake = features_fake.double()
    if min(len(real), len(fake)) <= nearest_k:
        raise too_few("prdc", nearest_k + 1, (len(real), len(fake)))
    real_radii = _radii(real, nearest_k)
    fake_radii = _radii(fake, nearest_k)
    clipped_radii = real_radii.clamp(max=real_radii.quantile(0.5))
    # For each real image, the number of clipped balls of other real images that it lies in.
    clipped_balls_of_real = torch.zeros(len(real), dtype=torch.int64, device=real.device)
    for rows, distances in _to_others(real):
        clipped_balls_of_real += (distances <= clipped_radii[rows, None]).sum(0)
    # For each fake image, the number of real balls that it lies in, and of clipped ones.
    balls_of_fake = torch.zeros(len(fake), dtype=torch.int64, device=real.device)
    clipped_balls_of_fake = torch.zeros_like(balls_of_fake)
    # For each real image, the number of fake images in its ball, and whether it lies in a fake ball.
    fake_inside = torch.zeros(len(real), dtype=torch.int64, device=real.device)
    is_recalled = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    for rows in blocks(len(real), len(fake), _CELLS):
        distances = _distances(real[rows], fake)
        are_equal = distances == 0
        in_real_ball = (distances < real_radii[rows, None]) | are_equal
        in_fake_ball = (distances < fake_radii) | are_equal
        balls_of_fake += in_real_ball.sum(0)
        clipped_balls_of_fake += (distances <= clipped_radii[rows, None]).sum(0)
        fake_inside[rows] = in_real_ball.sum(1)
        is_recalled[rows] = in_fake_ball.any(1)
    density = _mean_share(clipped_balls_of_fake, nearest_k)
    density_of_real = _mean_share(clipped_balls_of_real, nearest_k)
    filling = _mean_share(fake_inside, nearest_k)
    expected_fillings = _expected_filling(len(real), len(fake), nearest_k).to(filling)
    are_smaller = expected_fillings < filling - _ROUNDING
    return {
        "precision": (balls_of_fake > 0).double().mean(),
        "recall": is_recalled.double().mean(),
        "clipped_density": (density / density_of_real).clamp(max=1),
        "clipped_coverage": are_smaller.double().mean(),
        "density": balls_of_fake.double().mean() / nearest_k,
        "coverage": (fake_inside > 0).double().mean(),
    }


def _radii(features: Tensor, nearest_k: int) -> Tensor:
    """Return the distance of each row to its k-th nearest other row, ``(images,)``."""
    radii = [distances.kthvalue(nearest_k, 1).values for _, distances in _to_others(features)]
    return torch.cat(radii)


def _mean_share(counts: Tensor, most: int) -> Tensor:
    """Return the mean of counts relative to ``most``, which larger ones count as."""
    return counts.clamp(max=most).double().mean() / most


def _to_others(features: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield blocks of rows with their distances to all rows; to themselves it is infinite."""
    for rows in blocks(len(features), len(features), _CELLS):
        distances = _distances(features[rows], features)
        distances.diagonal(rows.start).fill_(torch.inf)
        yield rows, distances


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """Compute the distances of all pairs of rows; 0 where only rounding is left."""
    distances = torch.cdist(a, b)
    largest_norm = torch.maximum(a.norm(dim=1).max(), b.norm(dim=1).max())
    # Squared distances are differences of sums of n squares.
    rounding = (a.shape[1] * torch.finfo(a.dtype).eps) ** 0.5 * largest_norm
    return distances.masked_fill_(distances <= rounding, 0)


def _expected_filling(num_real: int, num_fake: int, nearest_k: int) -> Tensor:
    """Compute the expected filling of real balls if 0, 1 or up to all fake images are of the real kind.

    A ball with k fake images or more has filling 1. The result has shape ``(num_fake + 1,)``.
    """
    good = torch.arange(num_fake + 1).double()[:, None]
    inside = torch.arange(nearest_k).double()

    def log_binomial(n: Tensor, k: Tensor) -> Tensor:
        return (n + 1).lgamma() - (k + 1).lgamma() - (n - k + 1).lgamma()

    # Order the images of both sets by their distance to a real image. Count the orders in which ``inside`` of the good
    # fake images come before the k-th real one.
    after = num_real - nearest_k - 1 + good - inside
    log_orders = log_binomial(nearest_k - 1 + inside, inside) + log_binomial(after, good - inside)
    # NaN if there are fewer good images than those inside.
    chances = (log_orders - log_binomial(num_real - 1 + good, good)).exp().nan_to_num(0)
    return 1 - (chances * (nearest_k - inside)).sum(1) / nearest_k


def inception_score(logits: Tensor) -> tuple[float, float]:
    r"""Compute the inception score (`Salimans et al., 2016 <https://arxiv.org/abs/1606.03498>`_) from logits.

    The score of a split is :math:`\exp(\overline{KL(p(y|x) \,\|\, p(y))})`, the mean over its images. Images are
    shuffled with a fixed seed, as torch-fidelity does, so that the score does not depend on how they are sorted.

    Args:
        logits: Logits of the images, shape ``(images, classes)``, floating point.

    Returns:
        Mean and standard deviation (divided by the number of splits) of the scores of ten splits; 1 or more, and higher
        is better.

    Raises:
        ValueError: If a logit is not finite.
        RuntimeError: If there are fewer than ten images.

    Example:
        >>> inception_score(torch.eye(10).mul(100))[0], inception_score(100 * torch.eye(2).repeat(20, 1))[0] > 1.5
        (1.0, True)

    """
    if len(logits) < _SPLITS:
        raise too_few("is", _SPLITS, [len(logits)])
    _check_finite(logits, "is")
    order = torch.from_numpy(np.random.RandomState(_SEED_OF_ORDER).permutation(len(logits)))
    log_probabilities = logits[order.to(logits.device)].double().log_softmax(1)
    ends = [k * len(logits) // _SPLITS for k in range(1, _SPLITS)]
    divergences = []
    for log_p in log_probabilities.tensor_split(ends):
        p = log_p.exp()
        # A class without probability has 0 * infinity.
        terms = (p * (log_p - p.mean(0).log())).nan_to_num(0)
        divergences.append(terms.sum(1).mean())
    scores = torch.stack(divergences).exp()
    return float(scores.mean()), float(scores.std(correction=0))


def check_integer(name: str, value: object, least: int) -> None:
    """Raise ValueError unless an argument is an integer of at least ``least``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"Argument `{name}` expected to be an integer of at least {least}, but got {value!r}")


def _check(a: Tensor, b: Tensor, name: str) -> None:
    """Check two sets of features, each ``(images, n)``, for a metric of this name.

    Raises:
        ValueError: If shapes do not match, or values are not floating point or not finite.
        TooFewImagesError: If a set is empty.

    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        shapes = f"{tuple(a.shape)} and {tuple(b.shape)}"
        raise ValueError(f"Expected two sets of features, each (images, n), but got shapes {shapes}")
    if not (a.is_floating_point() and b.is_floating_point()):
        raise ValueError(f"Expected features in floating point, but got {a.dtype} and {b.dtype}")
    if not (len(a) and len(b)):
        raise too_few(name, 1, (len(a), len(b)))
    for features in (a, b):
        _check_finite(features, name)


def _check_finite(features: Tensor, name: str) -> None:
    """Raise ValueError if a feature is NaN or infinite."""
    bad = ~features.isfinite().all(1)
    if bad.any():
        raise ValueError(
            f"Expected finite features to compute {name}, but got NaN or infinity in {int(bad.sum())} of {len(bad)}"
            f" images, first in image {int(bad.nonzero()[0])}; leave them out, and check the network"
        )
