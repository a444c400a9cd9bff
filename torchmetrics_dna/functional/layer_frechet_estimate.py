"""Estimate the Fréchet distance (fd) between populations from samples: its bias, and the influence of each image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from torchmetrics_dna.functional.layer_frechet import eigen_root, eigenvalue_rounding, layer_frechet_distance
from torchmetrics_dna.functional.permutation import LEAST_FOLDS, NUM_FOLDS

# Mean, shape (n,), and covariance, shape (n, n).
Moments = tuple[Tensor, Tensor]
# Number of parts of a sample that are left out one by one.
TENTHS = 10
# Number of ways to split a sample into halves.
HALVINGS = 2
# Largest number of images that are converted to float64 at the same time.
_ROWS = 4096
# Largest bias that counts as a rounding error, relative to the variance of all neurons.
_ROUNDING = 1e-10


class FrechetEstimate(NamedTuple):
    """Fréchet distance (fd) of samples, with its bias and the influence of each image.

    Attributes:
        value: fd of the samples, a scalar, which is biased upwards.
        bias: Estimated bias of ``value``, a scalar.
        influences: Influence of the images of each set on fd, shape ``(images,)``, with mean 0, or None for a set whose
            mean and covariance are exact.

    """

    value: Tensor
    bias: Tensor
    influences: tuple[Tensor | None, Tensor | None]

    @property
    def debiased(self) -> Tensor:
        """Estimated fd between the populations, ``value - bias``. For a small distance, it can be negative."""
        debiased: Tensor = self.value - self.bias
        return debiased

    @property
    def standard_error(self) -> Tensor:
        """Standard error of ``debiased``, for images that are drawn independently, or infinity for one image."""
        variances = []
        for influence in self.influences:
            if influence is not None:
                num_images = len(influence)
                variances.append(influence.square().sum() / num_images / (num_images - 1))
        return torch.stack(variances).sum().sqrt()


def layer_frechet_estimate(
    a: Tensor | Moments, b: Tensor | Moments, folds: tuple[Tensor | None, Tensor | None] = (None, None)
) -> FrechetEstimate:
    r"""Estimate the Fréchet distance (fd) between two populations, from samples or against published statistics.

    The influence of an image x of A is the derivative of fd with respect to its weight,

    .. math::
        \varphi(x) = 2 (\mu_A - \mu_B)^T (x - \mu_A) + (x - \mu_A)^T (I - T) (x - \mu_A)
        - \mathrm{tr}\left((I - T) \Sigma_A\right)

    where :math:`T = \Sigma_A^{-1/2} (\Sigma_A^{1/2} \Sigma_B \Sigma_A^{1/2})^{1/2} \Sigma_A^{-1/2}` is the optimal
    transport from A to B. The standard error of n images is the standard deviation of their influences, divided by
    :math:`\sqrt{n}`.

    The bias is estimated by a second-order jackknife. fd is computed without each tenth of the images, and from halves
    of them. These values show how fd falls with 1 / images and with the square of 1 / images. The linear effect of the
    images that are left out is removed by their influences.

    Intervals require at least 3 images per neuron.

    Args:
        a: Sample or exact moments. A sample is the spatial means of the layer's neurons, shape ``(images, n)``. Moments
            are a mean ``(n,)`` and a covariance ``(n, n)``, which are considered exact.
        b: The other distribution, in one of the same two forms. At least one of the two must be a sample.
        folds: Fold of each image of both samples, int64, shape ``(images,)``, with at least 5 different folds. The
            estimate divides the images into tenths and halves without splitting a fold, so images that belong together
            must have the same fold. By default, 20 folds are drawn at random with a fixed seed.

    Returns:
        Estimate in float64, in squared activations.

    Raises:
        ValueError: If there is no sample, shapes do not match, a sample has no more images than neurons or fewer than 5
            folds, or a value is not finite.

    Example:
        >>> from torch import eye, zeros
        >>> images = torch.randn(2000, 8, generator=torch.Generator().manual_seed(0))
        >>> estimate = layer_frechet_estimate(images, (zeros(8), eye(8)))
        >>> bool(estimate.debiased.abs() < 2 * estimate.standard_error), bool(estimate.value > estimate.debiased)
        (True, True)

    """
    side_a = _side(a, folds[0])
    side_b = _side(b, folds[1])
    sides = [side_a, side_b]
    samples = [side for side in sides if isinstance(side, _Sample)]
    if not samples:
        raise ValueError("Expected features of one side at least, but got means and covariances only; pass images")
    moments_a = _moments(side_a)
    moments_b = _moments(side_b)
    value = layer_frechet_distance(*moments_a, *moments_b)
    if isinstance(side_a, _Sample):
        side_a.influence = _influence(side_a, moments_a, moments_b)
    if isinstance(side_b, _Sample):
        side_b.influence = _influence(side_b, moments_b, moments_a)
    bias = _bias(value, sides, samples)
    variance = moments_a[1].trace() + moments_b[1].trace()
    is_above_rounding = bias.abs() > _ROUNDING * variance
    influences = (_influence_of(side_a), _influence_of(side_b))
    return FrechetEstimate(value, torch.where(is_above_rounding, bias, 0), influences)


class _Sample:
    """Sample of images. Its moments can be computed without some of the images.

    Args:
        features: Spatial means of the images, ``(images, n)``.
        folds: Fold of each image, ``(images,)``, or None to draw folds at random.

    Attributes:
        influence: Influence of each image on fd, ``(images,)``. It is set when the moments of both sets are computed.
        tenth: Number of the tenth to which each image belongs.
        halves: Number of the half to which each image belongs, for each way to split the sample into halves.

    """

    influence: Tensor

    def __init__(self, features: Tensor, folds: Tensor | None) -> None:
        _check_features(features)
        if folds is None:
            generator = torch.Generator().manual_seed(0)
            folds = torch.randperm(len(features), generator=generator) % NUM_FOLDS
        fold_numbers = _consecutive_numbers(folds.to(features.device), len(features))
        self.features = features
        # Sums of products of centred features lose no precision by cancellation.
        self._centre = features.mean(0, dtype=torch.float64)
        # A tenth is a pair of folds. The first way to split into halves separates the folds of a pair. The second way
        # keeps them together.
        self.tenth: Tensor = fold_numbers // 2 % TENTHS
        self.halves: tuple[Tensor, ...] = (fold_numbers % 2, fold_numbers // 2 % 2)
        self._sums = self._sums_of(slice(None))

    def moments(self, left_out: Tensor | None = None) -> Moments:
        """Return the mean and the unbiased covariance of the images.

        Args:
            left_out: Mask of the images to leave out, bool, ``(images,)``, or None to use all images.

        """
        count, sums, products = self._sums
        if left_out is not None:
            count_out, sums_out, products_out = self._sums_of(left_out)
            count = count - count_out
            sums = sums - sums_out
            products = products - products_out
        mean = self._centre + sums / count
        cov = (products - torch.outer(sums, sums) / count) / (count - 1)
        return mean, cov

    def chunks(self, rows: Tensor | slice = slice(None)) -> Iterator[Tensor]:
        """Yield the features of the selected images in float64, a few thousand images at a time."""
        features = self.features[rows]
        for begin in range(0, len(features), _ROWS):
            yield features[begin : begin + _ROWS].double()

    def _sums_of(self, rows: Tensor | slice) -> tuple[int, Tensor, Tensor]:
        """Return sums over the selected images.

        Returns:
            The number of images, the sum of their centred features, ``(n,)``, and the sum of the outer products of
            their centred features, ``(n, n)``.

        """
        n = self.features.shape[1]
        count = 0
        sums = self._centre.new_zeros(n)
        products = self._centre.new_zeros(n, n)
        for chunk in self.chunks(rows):
            centred = chunk - self._centre
            count += len(chunk)
            sums += centred.sum(0)
            products.addmm_(centred.T, centred)
        return count, sums, products


def _check_features(features: Tensor) -> None:
    """Raise ValueError unless features have shape ``(images, n)``, are finite, and there are more images than n."""
    if features.ndim != 2 or len(features) <= features.shape[1]:
        raise ValueError(
            f"Features expected to have shape (images, n), with more images than neurons, but got"
            f" {tuple(features.shape)}; pass more images, or omit neurons"
        )
    if not features.isfinite().all():
        raise ValueError("Expected finite features, but got NaN or infinity")


def _consecutive_numbers(folds: Tensor, num_images: int) -> Tensor:
    """Return the folds of images, renumbered from 0 without gaps; ValueError if there are too few folds."""
    distinct_folds, numbers = folds.unique(return_inverse=True)  # type: ignore[no-untyped-call]
    if len(numbers) != num_images or len(distinct_folds) < LEAST_FOLDS:
        raise ValueError(
            f"Folds expected to be {LEAST_FOLDS} or more, one for each of {num_images} images, but got"
            f" {len(distinct_folds)} of {len(numbers)} images"
        )
    return numbers  # type: ignore[no-any-return]


def _side(side: Tensor | Moments, folds: Tensor | None) -> _Sample | Moments:
    """Return the sample of these features, or the exact moments in float64."""
    if isinstance(side, Tensor):
        return _Sample(side, folds)
    mean, cov = side
    return mean.double(), cov.double()


def _moments(side: _Sample | Moments, left_out: Tensor | None = None) -> Moments:
    """Return the mean and covariance of a set. For a sample, the images in the mask ``left_out`` are left out."""
    if isinstance(side, _Sample):
        return side.moments(left_out)
    return side


def _influence_of(side: _Sample | Moments) -> Tensor | None:
    """Return the influence of the images of a sample, or None for exact moments."""
    return side.influence if isinstance(side, _Sample) else None


def _influence(sample: _Sample, moments: Moments, moments_of_other: Moments) -> Tensor:
    """Compute the influence of each image of a sample on fd.

    Args:
        sample: The sample.
        moments: Mean and covariance of the sample.
        moments_of_other: Mean and covariance of the other distribution.

    Returns:
        Influences with mean 0, shape ``(images,)``.

    """
    mean, cov = moments
    mean_of_other = moments_of_other[0].to(mean)
    cov_of_other = moments_of_other[1].to(mean)
    # The matrix I - T of the formula, where T is the optimal transport.
    change = torch.eye(len(cov)).to(cov) - _optimal_transport(cov, cov_of_other)
    influences = []
    for chunk in sample.chunks():
        centred = chunk - mean
        linear = 2 * centred @ (mean - mean_of_other)
        quadratic = ((centred @ change) * centred).sum(1)
        influences.append(linear + quadratic)
    # Subtracting the mean subtracts the trace in the formula.
    influence = torch.cat(influences)
    return influence - influence.mean()


def _optimal_transport(cov: Tensor, cov_of_other: Tensor) -> Tensor:
    """Return the matrix of the optimal transport from a Gaussian to another one, given their covariances, ``(n, n)``.

    It is ``cov ** -1/2 @ (cov ** 1/2 @ cov_of_other @ cov ** 1/2) ** 1/2 @ cov ** -1/2``.
    """
    # The root has no columns for directions in which the features never vary, so it can be inverted.
    root, _ = eigen_root(cov, eigenvalue_rounding(cov))
    inverse = (root / root.square().sum(0)).T
    values, vectors = torch.linalg.eigh(root.T @ cov_of_other @ root)
    # The root of a matrix has the roots of its eigenvalues. The factor occurs twice, so it has their fourth roots.
    factor: Tensor = (values.clamp(min=0).pow(0.25)[:, None] * vectors.T) @ inverse
    return factor.T @ factor


def _bias(value: Tensor, sides: list[_Sample | Moments], samples: list[_Sample]) -> Tensor:
    """Estimate the bias of fd by a second-order jackknife.

    If the number of images is divided by 1 + x, fd is expected to increase by ``r x + s (x^2 + 2 x)``. The bias of all
    images is then r + s.

    Args:
        value: fd of all images.
        sides: Samples or exact moments of both sets.
        samples: The samples among them.

    """
    # The mean increases for tenths and for halves are two linear equations for r and s.
    mean_increases = []
    coefficients = []
    for parts in (_tenths(samples), _halves(samples)):
        filled_parts = [masks for masks in parts if _are_filled(masks)]
        increases = [_increase(value, sides, samples, masks) for masks in filled_parts]
        x = torch.tensor([_relative_loss(masks) for masks in filled_parts], dtype=torch.float64)
        mean_increases.append(torch.stack(increases).mean())
        coefficients.append(torch.stack([x.mean(), (x.square() + 2 * x).mean()]))
    r_and_s: Tensor = torch.linalg.solve(torch.stack(coefficients).to(value), torch.stack(mean_increases))
    return r_and_s.sum()


def _are_filled(masks: list[Tensor]) -> bool:
    """True if each mask has at least one image."""
    return all(bool(mask.any()) for mask in masks)


def _tenths(samples: list[_Sample]) -> list[list[Tensor]]:
    """Return masks of the images in each tenth: for each tenth, one mask per sample."""
    tenths = []
    for tenth in range(TENTHS):
        tenths.append([sample.tenth == tenth for sample in samples])
    return tenths


def _halves(samples: list[_Sample]) -> list[list[Tensor]]:
    """Return masks of the images in each half, of all ways to split: for each half, one mask per sample."""
    halves = []
    for halving in range(HALVINGS):
        for half in range(2):
            halves.append([sample.halves[halving] == half for sample in samples])
    return halves


def _increase(value: Tensor, sides: list[_Sample | Moments], samples: list[_Sample], masks: list[Tensor]) -> Tensor:
    """Return how much fd increases if images are left out, less the increase that their influences predict.

    The predicted increase has mean 0 over all parts of the samples, so it would only add noise.

    Args:
        value: fd of all images.
        sides: Samples or exact moments of both sets.
        samples: The samples among them.
        masks: Mask of the images to leave out, for each sample.

    """
    # Exact moments have no mask, since no images can be left out of them.
    mask_of_sample = {id(sample): mask for sample, mask in zip(samples, masks, strict=True)}
    moments_a, moments_b = [_moments(side, mask_of_sample.get(id(side))) for side in sides]
    predictions = []
    for sample, mask in zip(samples, masks, strict=True):
        num_left = int((~mask).sum())
        predictions.append(-sample.influence[mask].sum() / num_left)
    return layer_frechet_distance(*moments_a, *moments_b) - value - sum(predictions)


def _relative_loss(masks: list[Tensor]) -> float:
    """Return x if leaving out the images of the masks divides the number of images by 1 + x.

    The result is the mean over samples, each of which has one mask.
    """
    losses = []
    for mask in masks:
        num_left = int((~mask).sum())
        losses.append(len(mask) / num_left - 1)
    return sum(losses) / len(losses)
