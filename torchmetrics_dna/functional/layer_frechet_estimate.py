"""Estimate fd between populations from samples: its bias, and the influence of each image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from torchmetrics_dna.functional.layer_frechet import eigen_root, eigenvalue_rounding, layer_frechet_distance
from torchmetrics_dna.functional.permutation import LEAST_FOLDS, NUM_FOLDS

Moments = tuple[Tensor, Tensor]  # mean (n,) and covariance (n, n)
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
        """Fd between the populations: ``value - bias``; negative if nothing is left of a small distance."""
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

    Intervals take at least 3 images per neuron.

    Args:
        a: Sample: spatial means of the layer's neurons, shape ``(images, n)``; or its mean ``(n,)`` and covariance
            ``(n, n)``, if it is taken as exact.
        b: The other side, likewise; at least one of them is a sample.
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
    sides = [
        _Sample(side, of_side) if isinstance(side, Tensor) else (side[0].double(), side[1].double())
        for side, of_side in zip((a, b), folds, strict=True)
    ]
    samples = [side for side in sides if isinstance(side, _Sample)]
    if not samples:
        raise ValueError("Expected features of one side at least, but got means and covariances only; give images")
    moments = [side.moments() if isinstance(side, _Sample) else side for side in sides]
    value = layer_frechet_distance(*moments[0], *moments[1])
    for side, own, other in zip(sides, moments, moments[::-1], strict=True):
        if isinstance(side, _Sample):
            side.influence = _influence(side, own, other)
    bias = _bias(value, sides, samples)
    variance = sum(cov.trace() for _, cov in moments)
    bias = torch.where(bias.abs() > _ROUNDING * variance, bias, 0)
    influences = [side.influence if isinstance(side, _Sample) else None for side in sides]
    return FrechetEstimate(value, bias, (influences[0], influences[1]))


class _Sample:
    """Side of images, of which parts can be left out."""

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
        # centred to avoid cancellation in products; tenths are pairs of folds, which both halvings cross or keep whole
        self._centre = features.mean(0, dtype=torch.float64)
        self.tenth: Tensor = numbers // 2 % TENTHS
        self.halves: tuple[Tensor, ...] = (numbers % 2, numbers // 2 % 2)
        self._sums = self._sums_of(slice(None))

    def moments(self, left_out: Tensor | None = None) -> Moments:
        """Return the mean and unbiased covariance without the images of a mask."""
        count, sums, products = self._sums
        if left_out is not None:
            less = self._sums_of(left_out)
            count, sums, products = count - less[0], sums - less[1], products - less[2]
        return self._centre + sums / count, (products - torch.outer(sums, sums) / count) / (count - 1)

    def chunks(self, rows: Tensor | slice = slice(None)) -> Iterator[Tensor]:
        """Yield the features of some images in float64, a few thousand at a time."""
        features = self.features[rows]
        return (features[i : i + _ROWS].double() for i in range(0, len(features), _ROWS))

    def _sums_of(self, rows: Tensor | slice) -> tuple[int, Tensor, Tensor]:
        """Return the number of some images, and the sums of their features and of products of these."""
        n = self.features.shape[1]
        count = 0
        sums = self._centre.new_zeros(n)
        products = self._centre.new_zeros(n, n)
        for chunk in self.chunks(rows):
            centred = chunk - self._centre
            count = count + len(chunk)
            sums = sums + centred.sum(0)
            products.addmm_(centred.T, centred)
        return count, sums, products


def _influence(sample: _Sample, own: Moments, other: Moments) -> Tensor:
    """Return the influence of each image on fd to the other side, shape ``(images,)``."""
    (mean, cov), (mean_b, cov_b) = own, (moment.to(own[0]) for moment in other)
    root, _ = eigen_root(cov, eigenvalue_rounding(cov))  # without neurons that never vary
    inverse = (root / root.square().sum(0)).T
    values, vectors = torch.linalg.eigh(root.T @ cov_b @ root)
    half = (values.clamp(min=0).pow(0.25)[:, None] * vectors.T) @ inverse
    change = torch.eye(len(cov)).to(cov) - half.T @ half
    influences = []
    for chunk in sample.chunks():
        centred = chunk - mean
        influences.append(2 * centred @ (mean - mean_b) + ((centred @ change) * centred).sum(1))
    influence = torch.cat(influences)
    return influence - influence.mean()


def _bias(value: Tensor, sides: list[_Sample | Moments], samples: list[_Sample]) -> Tensor:
    """Return ``r + s``, where fd is expected to rise by ``r x + s (x^2 + 2 x)`` if images become fewer by 1 + x."""
    tenths = [[sample.tenth == k for sample in samples] for k in range(TENTHS)]
    halves = [[sample.halves[i] == k for sample in samples] for i in range(HALVINGS) for k in range(2)]
    rises, terms = [], []
    for parts in (tenths, halves):
        curvatures, shares = [], []
        for masks in parts:
            if not all(mask.any() for mask in masks):
                continue
            left_out = {id(sample): mask for sample, mask in zip(samples, masks, strict=True)}
            moments = [side.moments(left_out[id(side)]) if isinstance(side, _Sample) else side for side in sides]
            num_left = [int((~mask).sum()) for mask in masks]
            # the change that influences foretell has mean 0, and would add noise
            linear = sum(-sample.influence[m].sum() / n for sample, m, n in zip(samples, masks, num_left, strict=True))
            curvatures.append(layer_frechet_distance(*moments[0], *moments[1]) - value - linear)
            shares.append(sum(len(m) / n - 1 for m, n in zip(masks, num_left, strict=True)) / len(samples))
        x = torch.tensor(shares, dtype=torch.float64)
        rises.append(torch.stack(curvatures).mean())
        terms.append(torch.stack([x.mean(), (x.square() + 2 * x).mean()]))
    bias: Tensor = torch.linalg.solve(torch.stack(terms).to(value), torch.stack(rises)).sum()
    return bias
