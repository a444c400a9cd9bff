"""Fréchet distance between the multivariate Gaussians of a layer, the fd of the paper's benchmarks."""

from __future__ import annotations

import torch
from torch import Tensor

# Number of neurons from which on faster methods are tried.
_LARGE = 512
# Oversampling of the range finder.
_SPARE = 10
# Relative error that is accepted, by a bound that is at least 10**4 times the actual error.
_TOLERANCE = 1e-8


def layer_frechet_distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> Tensor:
    r"""Compute the Fréchet distance (fd) between two Gaussians over all neurons of a layer, as in FID.

    .. math::
        |\mu_A - \mu_B|^2 + \mathrm{tr}\left(\Sigma_A + \Sigma_B - 2 (\Sigma_A \Sigma_B)^{1/2}\right)

    The trace of the matrix square root is the sum of the singular values of :math:`R_A^T R_B`, for any
    :math:`R R^T = \Sigma`: a Cholesky factor where the covariance has full rank, else from eigenvectors. No square root
    of a rounding error is taken, so covariances of fewer images than neurons need no offset. If all singular values are
    well above rounding, those of many neurons are computed faster, as the roots of the eigenvalues of
    :math:`R_A^T \Sigma_B R_A`.

    Args:
        mean_a: Mean of A, shape ``(n,)``.
        cov_a: Covariance of A, symmetric, shape ``(n, n)``.
        mean_b: Mean of B, shape ``(n,)``.
        cov_b: Covariance of B, symmetric, shape ``(n, n)``.

    Returns:
        A scalar, float64, 0 or more, in squared activations.

    Raises:
        ValueError: If shapes do not match, or a value is not finite.

    Example:
        >>> from torch import eye, zeros
        >>> layer_frechet_distance(zeros(2), eye(2), zeros(2) + 1, 4 * eye(2))
        tensor(4., dtype=torch.float64)

    """
    n = len(mean_a)
    shapes = [tuple(t.shape) for t in (mean_a, cov_a, mean_b, cov_b)]
    if shapes != [(n,), (n, n)] * 2:
        raise ValueError(f"Expected means (n,) and covariances (n, n), but got {shapes}")
    if not all(t.isfinite().all() for t in (mean_a, cov_a, mean_b, cov_b)):
        raise ValueError("Expected finite means and covariances, but got NaN or infinity")
    cov_a = cov_a.double()
    cov_b = cov_b.double()
    # The part of the distance without the matrix square root.
    spread = (mean_a.double() - mean_b.double()).square().sum() + cov_a.trace() + cov_b.trace()
    root_a = _root(cov_a)
    if n >= _LARGE:
        # Squared singular values are cheaper. They are exact enough if rounding of their roots is negligible.
        squares = torch.linalg.eigvalsh(root_a.T @ cov_b @ root_a).clamp(min=0)
        distance: Tensor = spread - 2 * squares.sqrt().sum()
        if _error_of_roots(squares, cov_a, cov_b) <= _TOLERANCE * distance:
            return distance.clamp(min=0)
    distance = spread - 2 * torch.linalg.svdvals(root_a.T @ _root(cov_b)).sum()
    # The rounding error that is left of equal terms depends on the processor, so it is set to 0.
    return distance.where(distance > torch.finfo(distance.dtype).eps * spread, 0)


def _error_of_roots(squares: Tensor, cov_a: Tensor, cov_b: Tensor) -> Tensor:
    """Estimate the rounding error of twice the sum of the roots of the eigenvalues of ``root_a.T @ cov_b @ root_a``."""
    error_of_squares = eigenvalue_rounding(cov_a) * cov_a.norm() * cov_b.norm()
    # The error of twice a root is that of its square, divided by the root. The errors add up like a random walk.
    error: Tensor = error_of_squares / len(cov_a) ** 0.5 * squares.rsqrt().sum()
    return error


def _root(cov: Tensor) -> Tensor:
    """Return R with ``R @ R.T = cov``, without columns of rounding, by the cheapest exact method."""
    rounding = eigenvalue_rounding(cov)
    for method in (_cholesky, _few_columns):
        root = method(cov, rounding)
        if root is not None:
            return root
    return eigen_root(cov, rounding)[0]


def eigenvalue_rounding(cov: Tensor) -> float:
    """Return an upper bound on the rounding error of eigenvalues, relative to the largest."""
    return len(cov) * torch.finfo(cov.dtype).eps


def eigen_root(cov: Tensor, rounding: float) -> tuple[Tensor, Tensor]:
    """Return a root with a column for each eigenvalue above rounding, and the rounding error of eigenvalues."""
    values, vectors = torch.linalg.eigh(cov)
    noise = values.abs().max() * rounding
    real = values > noise
    return vectors[:, real] * values[real].sqrt(), noise


def _cholesky(cov: Tensor, rounding: float) -> Tensor | None:
    """Return the Cholesky factor; None unless all eigenvalues are above rounding."""
    factor, failed = torch.linalg.cholesky_ex(cov)
    if failed:
        return None
    # the smallest eigenvalue is at least the reciprocal of the trace of the inverse
    inverse = torch.linalg.solve_triangular(factor, torch.eye(len(cov)).to(cov), upper=False)
    return factor if 1 / inverse.square().sum() > cov.norm() * rounding else None


def _few_columns(cov: Tensor, rounding: float) -> Tensor | None:
    """Return the root of a large covariance of rank up to about a quarter of its size, else None.

    Products with random vectors span the range of such a matrix, in which eigenvectors are cheap.
    """
    n = len(cov)
    if n < _LARGE:
        return None
    directions = torch.randn(n, n // 4, dtype=cov.dtype, generator=torch.Generator().manual_seed(0))
    basis = torch.linalg.qr(cov @ directions.to(cov.device)).Q
    image = cov @ basis
    inner = basis.T @ image
    root, noise = eigen_root((inner + inner.T) / 2, rounding)
    missed = torch.maximum(cov.trace() - inner.trace(), (image - basis @ inner).norm())
    # without spare directions, they may not span the range
    if missed > noise or root.shape[1] > n // 4 - _SPARE:
        return None
    full_root: Tensor = basis @ root
    return full_root
