"""Metrics that are computed from the features of images, in float64: KID, CMMD, MIND, PRDC and inception score."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from torchmetrics_dna.functional.reduction import blocks

# Constants of the metrics have their published values, or those of torchmetrics.
# KID: number of random subsets, and number of images per subset.
SUBSETS = 100
SUBSET_SIZE = 1000
# CMMD: factor of the result, and bandwidth of the kernel.
CMMD_SCALE = 1000.0
_CMMD_SIGMA = 10.0
# MIND: number of random projections, their seed, and factor of the result.
NUM_PROJECTIONS = 1000
SEED = 2020
_MIND_SCALE = 3
# PRDC: rank of the nearest neighbour that defines the radius of a ball.
NEAREST = 5
# Inception score: number of splits, and seed of the order, as in torch-fidelity.
_SPLITS = 10
_SEED_OF_ORDER = 2020
# Largest number of pairs of images whose distances are in memory at the same time.
_CELLS = 1 << 22
# Rounding error of the expected filling of balls, for a hundred thousand images.
_ROUNDING = 1e-9


class TooFewImagesError(RuntimeError):
    """Error for a set with too few images for a distance."""


def too_few(distance: str, least: int, counts: Sequence[int]) -> TooFewImagesError:
    """Return the error for sets with too few images.

    Args:
        distance: Name of the distance or metric.
        least: Number of images that it requires.
        counts: Number of images of each set.

    """
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
        Mean and standard deviation over 100 random subsets. A subset has 1000 images, or as many as the smaller set. If
        both sets have the same size of up to 1000 images, there is only one subset, and the deviation is 0.

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
    # This import is slow, so it is done only here.
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

    The means are over all pairs of images, including the pairs of an image with itself. This is the biased estimator,
    as published. Embeddings are first divided by their norm. The computation is in float64. The published code computes
    in float32, and is accurate to about three digits.

    Args:
        embeddings_a: Embeddings of A, ``(images, n)``, floating point. CMMD was published for CLIP's projected
            embeddings.
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
    """Return the rows sorted by their sum. Rounding then does not depend on the order of the images."""
    return rows[rows.sum(1).argsort()]


def unit_rows(embeddings: Tensor) -> Tensor:
    """Divide each row by its norm, in float64; raise ValueError if a row is all zeros."""
    embeddings = embeddings.double()
    norms = embeddings.norm(dim=1, keepdim=True)
    if (norms == 0).any():
        raise ValueError("Expected embeddings with a direction, but got a row of zeros")
    unit: Tensor = embeddings / norms
    return unit


def kernel_less_one(a: Tensor, b: Tensor) -> Tensor:
    """Compute CMMD's kernel of all pairs of rows, less its maximum, 1.

    The differences from 1 are small. Subtracting 1 keeps their precision.

    Args:
        a: Rows of unit length, ``(A, n)``.
        b: Rows of unit length, ``(B, n)``.

    Returns:
        Values of 0 or less, shape ``(A, B)``.

    """
    return (((a @ b.T).clamp(max=1) - 1) / _CMMD_SIGMA**2).expm1()


def _mean_kernel(a: Tensor, b: Tensor) -> Tensor:
    """Compute the mean of :func:`kernel_less_one` over all pairs of rows."""
    total = a.new_zeros(())
    for block in blocks(len(a), len(b), _CELLS):
        rows = a[block]
        if b is a:
            # The kernel is symmetric, so each pair of a row in the block with a later row counts twice.
            following = a[block.stop :]
            total += kernel_less_one(rows, rows).sum() + 2 * kernel_less_one(rows, following).sum()
        else:
            total += kernel_less_one(rows, b).sum()
    return total / (len(a) * len(b))


def mind(features_a: Tensor, features_b: Tensor, *, num_projections: int = NUM_PROJECTIONS, seed: int = SEED) -> Tensor:
    r"""Compute the Monge Inception Distance (MIND) between two sets of features.

    .. math::
        \text{MIND} = \frac{3 n}{M} \sum_{m=1}^M \frac{1}{K} \sum_{k=1}^K \left( a^m_{(k)} - b^m_{(k)} \right)^2

    where :math:`a^m_{(k)}` is the k-th smallest projection of A's features on direction m. MIND is the mean over M
    random directions of the squared 2-Wasserstein distance along the direction, times 3 n (`Berthet et al., 2026
    <https://arxiv.org/abs/2605.06797>`_). The directions are drawn as in torch-fidelity, so equal features and seeds
    give the same value. If one set is larger, a random subsample of it has the size of the smaller set. The value then
    depends on the order of the rows.

    Args:
        features_a: Features of A, shape ``(images, n)``, floating point.
        features_b: Features of B, shape ``(images, n)``; the number of images may differ.
        num_projections: Number of directions, M.
        seed: Seed of the directions and of the subsample.

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
    num_images = min(len(features_a), len(features_b))
    a = _subsample(features_a, num_images, generator).double()
    b = _subsample(features_b, num_images, generator).double()
    vectors = torch.randn(num_projections, a.shape[1], generator=generator)
    directions = (vectors / vectors.norm(dim=1, keepdim=True)).to(a)
    total = a.new_zeros(())
    for block in blocks(num_projections, num_images, _CELLS):
        sorted_a = (directions[block] @ a.T).sort(1).values
        sorted_b = (directions[block] @ b.T).sort(1).values
        total += (sorted_a - sorted_b).square().sum()
    return total * _MIND_SCALE * a.shape[1] / (num_projections * num_images)


def _subsample(features: Tensor, num_images: int, generator: torch.Generator) -> Tensor:
    """Return a random subsample of the rows with this number of images.

    If all rows are needed, the generator is not used and the order is kept.
    """
    if len(features) == num_images:
        return features
    order = torch.randperm(len(features), generator=generator)
    return features[order[:num_images].to(features.device)]


def prdc(features_real: Tensor, features_fake: Tensor, nearest_k: int = NEAREST) -> dict[str, Tensor]:
    r"""Compute precision, recall, density, coverage, clipped density and clipped coverage of fake features.

    Each image has a ball around its features. The radius is the distance to the k-th nearest neighbour in the same set.

    - Precision is the share of fake images that are in at least one real ball. Recall is the share of real images that
      are in at least one fake ball (`Kynkäänniemi et al., 2019 <https://arxiv.org/abs/1904.06991>`_).
    - Density is the mean number of real balls around a fake image, divided by k. Coverage is the share of real balls
      with at least one fake image inside (`Naeem et al., 2020 <https://arxiv.org/abs/2002.09797>`_).
    - Clipped density and clipped coverage (`Salvy et al., ICLR 2026 <https://arxiv.org/abs/2507.01761>`_) are about 1
      for fake images from the distribution of the real ones. They are about :math:`1 - p` if a share p of the fake
      images is from another distribution.

    A duplicate of an image is always in the ball of that image, even if the radius is 0.

    Clipped density differs from density in three ways. Radii above the median are set to the median. The number of
    balls of an image counts as k if it is larger. The result is divided by the same quantity for real images in the
    balls of other real images.

    For clipped coverage, a real ball with J fake images inside is filled to :math:`\min(J, k) / k`. Let there be N real
    and M fake images, and let :math:`f(m)` be the expected mean filling if m fake images were from the real
    distribution. J is then beta-binomial with the parameters m, k and N - k. Clipped coverage is the number of m in 0
    to M with an :math:`f(m)` below the observed mean filling, divided by M + 1.

    Args:
        features_real: Real features, shape ``(images, n)``, floating point.
        features_fake: Fake features, shape ``(images, n)``. The number of images may differ, but all values except the
            clipped ones depend on it. Clipped coverage requires as many real images as fake ones.
        nearest_k: Rank of the neighbour that defines the radius, k.

    Returns:
        ``precision``, ``recall``, ``clipped_density``, ``clipped_coverage``, ``density`` and ``coverage``, scalars,
        float64. Higher values are better. Density may be above 1. All others are from 0 to 1.

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
    counts = _count_in_balls(real, fake, real_radii, fake_radii, clipped_radii)
    clipped_density = _mean_share(counts.clipped_balls_of_fake, nearest_k)
    clipped_density_of_real = _mean_share(_clipped_balls_of_real(real, clipped_radii), nearest_k)
    return {
        "precision": (counts.balls_of_fake > 0).double().mean(),
        "recall": counts.is_recalled.double().mean(),
        "clipped_density": (clipped_density / clipped_density_of_real).clamp(max=1),
        "clipped_coverage": _clipped_coverage(counts.fake_inside, len(fake), nearest_k),
        "density": counts.balls_of_fake.double().mean() / nearest_k,
        "coverage": (counts.fake_inside > 0).double().mean(),
    }


class _Counts(NamedTuple):
    """Numbers of images in balls.

    Attributes:
        balls_of_fake: Number of real balls that each fake image is in, ``(fake images,)``.
        clipped_balls_of_fake: The same for real balls with clipped radii.
        fake_inside: Number of fake images in the ball of each real image, ``(real images,)``.
        is_recalled: Whether each real image is in a fake ball, ``(real images,)``.

    """

    balls_of_fake: Tensor
    clipped_balls_of_fake: Tensor
    fake_inside: Tensor
    is_recalled: Tensor


def _count_in_balls(
    real: Tensor, fake: Tensor, real_radii: Tensor, fake_radii: Tensor, clipped_radii: Tensor
) -> _Counts:
    """Count the fake images in real balls and the real images in fake balls."""
    balls_of_fake = torch.zeros(len(fake), dtype=torch.int64, device=real.device)
    clipped_balls_of_fake = torch.zeros_like(balls_of_fake)
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
    return _Counts(balls_of_fake, clipped_balls_of_fake, fake_inside, is_recalled)


def _clipped_balls_of_real(real: Tensor, clipped_radii: Tensor) -> Tensor:
    """Return how many balls of other real images, with clipped radii, each real image is in, ``(real images,)``."""
    num_balls = torch.zeros(len(real), dtype=torch.int64, device=real.device)
    for rows, distances in _to_others(real):
        num_balls += (distances <= clipped_radii[rows, None]).sum(0)
    return num_balls


def _clipped_coverage(fake_inside: Tensor, num_fake: int, nearest_k: int) -> Tensor:
    """Return clipped coverage, from the number of fake images in the ball of each real image."""
    filling = _mean_share(fake_inside, nearest_k)
    expected_fillings = _expected_filling(len(fake_inside), num_fake, nearest_k).to(filling)
    are_smaller = expected_fillings < filling - _ROUNDING
    return are_smaller.double().mean()


def _radii(features: Tensor, nearest_k: int) -> Tensor:
    """Return the distance of each row to its k-th nearest other row, ``(images,)``."""
    radii = [distances.kthvalue(nearest_k, 1).values for _, distances in _to_others(features)]
    return torch.cat(radii)


def _mean_share(counts: Tensor, most: int) -> Tensor:
    """Return the mean of counts divided by ``most``. Counts above ``most`` count as ``most``."""
    return counts.clamp(max=most).double().mean() / most


def _to_others(features: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield blocks of rows, each with the distances of its rows to all rows; the distance to itself is infinite."""
    for rows in blocks(len(features), len(features), _CELLS):
        distances = _distances(features[rows], features)
        distances.diagonal(rows.start).fill_(torch.inf)
        yield rows, distances


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """Compute the distances of all pairs of rows. Distances within the rounding error become 0."""
    distances = torch.cdist(a, b)
    largest_norm = torch.maximum(a.norm(dim=1).max(), b.norm(dim=1).max())
    # A squared distance is computed as a difference of sums of n squares, so its error grows with n.
    rounding = (a.shape[1] * torch.finfo(a.dtype).eps) ** 0.5 * largest_norm
    return distances.masked_fill_(distances <= rounding, 0)


def _expected_filling(num_real: int, num_fake: int, nearest_k: int) -> Tensor:
    """Compute the expected filling of real balls, by the number of fake images from the real distribution.

    A ball with J of these images inside is filled to ``min(J, k) / k``.

    Returns:
        Expected filling for 0 to ``num_fake`` such images, shape ``(num_fake + 1,)``.

    """
    # Good images are the fake images from the real distribution.
    num_good = torch.arange(num_fake + 1).double()[:, None]
    num_inside = torch.arange(nearest_k).double()
    # Order the other real images and the good images by their distance to a real image. All orders are equally likely.
    # Count those in which `num_inside` good images come before the k-th real image.
    num_after = num_real - nearest_k - 1 + num_good - num_inside
    log_orders_before = _log_binomial(nearest_k - 1 + num_inside, num_inside)
    log_orders_after = _log_binomial(num_after, num_good - num_inside)
    log_all_orders = _log_binomial(num_real - 1 + num_good, num_good)
    # There can't be more good images inside than in total. Such probabilities are NaN.
    probabilities = (log_orders_before + log_orders_after - log_all_orders).exp().nan_to_num(0)
    return 1 - (probabilities * (nearest_k - num_inside)).sum(1) / nearest_k


def _log_binomial(n: Tensor, k: Tensor) -> Tensor:
    """Compute the logarithm of binomial coefficients."""
    return (n + 1).lgamma() - (k + 1).lgamma() - (n - k + 1).lgamma()


def inception_score(logits: Tensor) -> tuple[float, float]:
    r"""Compute the inception score (`Salimans et al., 2016 <https://arxiv.org/abs/1606.03498>`_) from logits.

    The score of a split is :math:`\exp(\overline{KL(p(y|x) \,\|\, p(y))})`, where the mean is over the images of the
    split. Images are first shuffled with a fixed seed, as in torch-fidelity. The splits are then random subsets, even
    if the images were sorted.

    Args:
        logits: Logits of the images, shape ``(images, classes)``, floating point.

    Returns:
        Mean and standard deviation of the scores of ten splits (with the divisor 10). Scores are 1 or more, and higher
        scores are better.

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
    divergences = [_mean_divergence(split) for split in log_probabilities.tensor_split(ends)]
    scores = torch.stack(divergences).exp()
    return float(scores.mean()), float(scores.std(correction=0))


def _mean_divergence(log_probabilities: Tensor) -> Tensor:
    """Compute the mean divergence of the images of a split from their mean distribution over classes.

    Args:
        log_probabilities: Logarithm of the probability of each class, ``(images, classes)``.

    """
    probabilities = log_probabilities.exp()
    log_mean = probabilities.mean(0).log()
    # For a class with probability 0, the term is 0 * infinity, which counts as 0.
    terms = (probabilities * (log_probabilities - log_mean)).nan_to_num(0)
    return terms.sum(1).mean()


def check_integer(name: str, value: object, least: int) -> None:
    """Raise ValueError unless an argument is an integer of at least ``least``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"Argument `{name}` expected to be an integer of at least {least}, but got {value!r}")


def _check(a: Tensor, b: Tensor, name: str) -> None:
    """Check two sets of features, each ``(images, n)``; ``name`` is the metric that messages mention.

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
            f" images, first in image {int(bad.nonzero()[0])}; omit them, and check the network"
        )
