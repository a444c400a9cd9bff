"""Estimate fd between populations from samples: its bias, and the influence of each image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from torchmetrics_dna.functional.layer_frechet import eigen_root, eigenvalue_rounding, layer_frechet_distance
from torchmetrics_dna.functional.permutation import LEAST_FOLDS, NUM_FOLDS

# Mean, shape (n,), and covariance, shape (n, n).
Moments = tuple[Tensor, Tensor]
# Number of parts that are left out one by one, and number of ways to halve a sample.
TENTHS = 10
HALVINGS = 2
# Number of images at a time in float64.
_ROWS = 4096
# A smaller bias, relative to the variance of all neurons, is 0 up to rounding.
_ROUNDING = 1e-10


class FrechetEstimate(NamedTuple):
    """fd of samples, and what their noise does to it.

    Attributes:
        value: fd of the samples, a scalar; biased upwards.
        bias: Estimate of what sampling adds to ``value``, a scalar.
        influences: For each side, the influence of its images on fd, shape ``(images,)``, with mean 0; None for a side
            that is taken as exact.

    """

    value: Tensor
    bias: Tensor
    influences: tuple[Tensor | None, Tensor | None]

    @property
    def debiased(self) -> Tensor:
        """Fd between the populations: ``value - bias``. It can be negative for a small distance."""
        debiased: Tensor = self.value - self.bias
        return debiased

    @property
    def standard_error(self) -> Tensor:
        """Standard error of ``debiased``, for images that are drawn independently; infinite for one image."""
        variances = [phi.square().sum() / len(phi) / (len(phi) - 1) for phi in self.influences if phi is not None]
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
    transport from A to B. The standard error of n images is the standard deviation of their influences over
    :math:`\sqrt{n}`. The bias is that of a jackknife of second order: fd without each tenth, and of halves, of the
    images shows how it falls with 1/images and with its square; influences take the linear part out of these values.

    Intervals require at least 3 images per neuron.

    Args:
        a: Sample: spatial means of the layer's neurons, shape ``(images, n)``; or its mean ``(n,)`` and covariance
            ``(n, n)``, if it is taken as exact.
        b: The other distribution, in one of the same two forms. At least one of the two must be a sample.
        folds: Fold of each image of both samples, int64, shape ``(images,)``, at least 5 different ones; tenths and
            halves are made of them, so images that belong together share a fold. By default 20, drawn at random with a
            fixed seed.

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
    sides = [_side(a, folds[0]), _side(b, folds[1])]
    samples = [side for side in sides if isinstance(side, _Sample)]
    if not samples:
        raise ValueError("Expected features of one side at least, but got means and covariances only; give images")
    moments_a = _moments(sides[0])
    moments_b = _moments(sides[1])
    value = layer_frechet_distance(*moments_a, *moments_b)
    for side, own, other in ((sides[0], moments_a, moments_b), (sides[1], moments_b, moments_a)):
        if isinstance(side, _Sample):
            side.influence = _influence(side, own, other)
    bias = _bias(value, sides, samples)
    variance = moments_a[1].trace() + moments_b[1].trace()
    bias = torch.where(bias.abs() > _ROUNDING * variance, bias, 0)
    influence_a, influence_b = (side.influence if isinstance(side, _Sample) else None for side in sides)
    return FrechetEstimate(value, bias, (influence_a, influence_b))


class _Sample:
    """Sample of images, of which parts can be left out.

    Attributes:
        influence: Influence of each image on fd; set after the moments of both sides are known.
        tenth: Number of the tenth that each image is in.
        halves: For each way to halve the sample, the number of the half that each image is in.

    """

    influence: Tensor

    def __init__(self, features: Tensor, folds: Tensor | None) -> None:
        if features.ndim != 2 or len(features) <= features.shape[1]:
            raise ValueError(
                f"Features expected to have shape (images, n), with more images than neurons, but got"
                f" {tuple(features.shape)}; give more images, or leave out neurons"
            )
        if not features.isfinite().all():
            raise ValueError("Expected finite features, but got NaN or infinity")
        if folds is None:
            generator = torch.Generator().manual_seed(0)
            folds = torch.randperm(len(features), generator=generator) % NUM_FOLDS
        filled, numbers = folds.to(features.device).unique(return_inverse=True)  # type: ignore[no-untyped-call]
        if len(numbers) != len(features) or len(filled) < LEAST_FOLDS:
            raise ValueError(
                f"Folds expected to be {LEAST_FOLDS} or more, one for each of {len(features)} images, but got"
                f" {len(filled)} of {len(numbers)} images"
            )
        self.features = features
        # Products of centred features do not cancel.
        self._centre = features.mean(0, dtype=torch.float64)
        # A tenth of the images is a pair of folds. One division into halves splits each pair, the other keeps it
        # together.
        self.tenth: Tensor = numbers // 2 % TENTHS
        self.halves: tuple[Tensor, ...] = (numbers % 2, numbers // 2 % 2)
        self._sums = self._sums_of(slice(None))

    def moments(self, left_out: Tensor | None = None) -> Moments:
        """Return the mean and unbiased covariance without the images of a mask."""
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
        """Yield the features of some images in float64, a few thousand at a time."""
        features = self.features[rows]
        for begin in range(0, len(features), _ROWS):
            yield features[begin : begin + _ROWS].double()

    def _sums_of(self, rows: Tensor | slice) -> tuple[int, Tensor, Tensor]:
        """Return the number of some images, and the sums of their centred features and of products of these."""
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


def _side(side: Tensor | Moments, folds: Tensor | None) -> _Sample | Moments:
    """Return the sample of features, or moments in float64."""
    if isinstance(side, Tensor):
        return _Sample(side, folds)
    mean, cov = side
    return mean.double(), cov.double()


def _moments(side: _Sample | Moments, left_out: Tensor | None = None) -> Moments:
    """Return the mean and covariance of a set. For a sample, the images of the mask are left out."""
    if isinstance(side, _Sample):
        return side.moments(left_out)
    return side


def _influence(sample: _Sample, own: Moments, other: Moments) -> Tensor:
    """Return the influence of each image on fd to the other side, shape ``(images,)``."""
    mean, cov = own
    mean_b, cov_b = (moment.to(mean) for moment in other)
    # The root has no columns for neurons that never vary.
    root, _ = eigen_root(cov, eigenvalue_rounding(cov))
    inverse = (root / root.square().sum(0)).T
    values, vectors = torch.linalg.eigh(root.T @ cov_b @ root)
    # The optimal transport is factor.T @ factor.
    factor = (values.clamp(min=0).pow(0.25)[:, None] * vectors.T) @ inverse
    change = torch.eye(len(cov)).to(cov) - factor.T @ factor
    influences = []
    for chunk in sample.chunks():
        centred = chunk - mean
        linear = 2 * centred @ (mean - mean_b)
        quadratic = ((centred @ change) * centred).sum(1)
        influences.append(linear + quadratic)
    influence = torch.cat(influences)
    return influence - influence.mean()


def _bias(value: Tensor, sides: list[_Sample | Moments], samples: list[_Sample]) -> Tensor:
    """Return ``r + s``, where fd is expected to rise by ``r x + s (x^2 + 2 x)`` if images become fewer by 1 + x.

    Args:
        value: fd of all images.
        sides: Both sides.
        samples: Those sides that are samples.

    """
    # Images are left out by tenths and by halves. Each part is a mask of the images to leave out, for each sample.
    tenths = []
    for tenth in range(TENTHS):
        tenths.append([sample.tenth == tenth for sample in samples])
    halves = []
    for halving in range(HALVINGS):
        for half in range(2):
            halves.append([sample.halves[halving] == half for sample in samples])
    # The mean rise over tenths and the one over halves are two linear equations for r and s.
    mean_rises = []
    coefficients = []
    for parts in (tenths, halves):
        filled_parts = [masks for masks in parts if all(mask.any() for mask in masks)]
        rises = [_rise(value, sides, samples, masks) for masks in filled_parts]
        x = torch.tensor([_relative_loss(masks) for masks in filled_parts], dtype=torch.float64)
        mean_rises.append(torch.stack(rises).mean())
        coefficients.append(torch.stack([x.mean(), (x.square() + 2 * x).mean()]))
    r_and_s: Tensor = torch.linalg.solve(torch.stack(coefficients).to(value), torch.stack(mean_rises))
    return r_and_s.sum()


def _rise(value: Tensor, sides: list[_Sample | Moments], samples: list[_Sample], masks: list[Tensor]) -> Tensor:
    """Return the rise of fd without the images of a mask per sample, less what their influences predict.

    The predicted rise has mean 0 over parts, so it would only add noise.
    """
    mask_of_sample = {id(sample): mask for sample, mask in zip(samples, masks, strict=True)}
    moments = [_moments(side, mask_of_sample.get(id(side))) for side in sides]
    predictions = []
    for sample, mask in zip(samples, masks, strict=True):
        num_left = int((~mask).sum())
        predictions.append(-sample.influence[mask].sum() / num_left)
    return layer_frechet_distance(*moments[0], *moments[1]) - value - sum(predictions)


def _relative_loss(masks: list[Tensor]) -> float:
    """Return x, where images become fewer by 1 + x without those of a mask per sample; the mean over samples."""
    losses = []
    for mask in masks:
        num_left = int((~mask).sum())
        losses.append(len(mask) / num_left - 1)
    return sum(losses) / len(losses)
