"""Fréchet distance between the multivariate Gaussians of a layer, the fd of the paper's benchmarks."""

from __future__ import annotations

import torch
from torch import Tensor

# Number of neurons of the smallest layer for which faster methods are tried.
_LARGE = 512
# Number of additional random vectors of the range finder.
_SPARE = 10
# Largest accepted bound of the relative error. The bound was at least 10**4 times the actual error.
_TOLERANCE = 1e-8


def layer_frechet_distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> Tensor:
    r"""Compute the Fréchet distance (fd) between two Gaussians over all neurons of a layer, as in FID.

    .. math::
        |\mu_A - \mu_B|^2 + \mathrm{tr}\left(\Sigma_A + \Sigma_B - 2 (\Sigma_A \Sigma_B)^{1/2}\right)

    The trace of the matrix square root is the sum of the singular values of :math:`R_A^T R_B`, for any R with
    :math:`R R^T = \Sigma`. R is the Cholesky factor if the covariance has full rank, and is computed from eigenvectors
    otherwise. In both cases, R has no columns that are only rounding errors. So no offset needs to be added to
    covariances of fewer images than neurons.

    For layers with many neurons, the singular values are computed faster, as the roots of the eigenvalues of
    :math:`R_A^T \Sigma_B R_A`. This is done if all of them are well above the rounding error.

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
    _check_moments(mean_a, cov_a, mean_b, cov_b)
    cov_a = cov_a.double()
    cov_b = cov_b.double()
    # All terms of the distance except the matrix square root.
    spread = (mean_a.double() - mean_b.double()).square().sum() + cov_a.trace() + cov_b.trace()
    root_a = _root(cov_a)
    if len(mean_a) >= _LARGE:
        # Computing squared singular values is faster. It is accurate enough if the error of their roots is negligible.
        squares = torch.linalg.eigvalsh(root_a.T @ cov_b @ root_a).clamp(min=0)
        fast_distance: Tensor = spread - 2 * squares.sqrt().sum()
        if _error_of_roots(squares, cov_a, cov_b) <= _TOLERANCE * fast_distance:
            return fast_distance.clamp(min=0)
    singular_values = torch.linalg.svdvals(root_a.T @ _root(cov_b))
    distance: Tensor = spread - 2 * singular_values.sum()
    # For equal Gaussians, only a rounding error remains. It differs between processors, so it is set to 0.
    return distance.where(distance > torch.finfo(distance.dtype).eps * spread, 0)


def _check_moments(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> None:
    """Raise ValueError unless the means and covariances have matching shapes and finite values."""
    moments = (mean_a, cov_a, mean_b, cov_b)
    n = len(mean_a)
    shapes = [tuple(moment.shape) for moment in moments]
    if shapes != [(n,), (n, n), (n,), (n, n)]:
        raise ValueError(f"Expected means (n,) and covariances (n, n), but got {shapes}")
    if not all(moment.isfinite().all() for moment in moments):
        raise ValueError("Expected finite means and covariances, but got NaN or infinity")


def _error_of_roots(squares: Tensor, cov_a: Tensor, cov_b: Tensor) -> Tensor:
    """Estimate the rounding error of twice the sum of the roots of eigenvalues.

    Args:
        squares: Eigenvalues of ``root_a.T @ cov_b @ root_a``.
        cov_a: Covariance of A.
        cov_b: Covariance of B.

    """
    error_of_squares = eigenvalue_rounding(cov_a) * cov_a.norm() * cov_b.norm()
    # The error of twice a root is the error of the eigenvalue, divided by the root. Errors add up like a random walk.
    error: Tensor = error_of_squares / len(cov_a) ** 0.5 * squares.rsqrt().sum()
    return error


def _root(cov: Tensor) -> Tensor:
    """Return R with ``R @ R.T = cov``, without columns of rounding errors, by the fastest method that is exact."""
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
    """Compute R with ``R @ R.T = cov`` from eigenvectors.

    Args:
        cov: Covariance.
        rounding: Rounding error of eigenvalues, relative to the largest eigenvalue.

    Returns:
        R, with one column per eigenvalue above the rounding error, and the absolute rounding error of eigenvalues.

    """
    values, vectors = torch.linalg.eigh(cov)
    noise = values.abs().max() * rounding
    is_above_noise = values > noise
    return vectors[:, is_above_noise] * values[is_above_noise].sqrt(), noise


def _cholesky(cov: Tensor, rounding: float) -> Tensor | None:
    """Return the Cholesky factor of a covariance, or None if an eigenvalue is within the rounding error."""
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(cov)
    if failed:
        return None
    inverse = torch.linalg.solve_triangular(factor, torch.eye(len(cov)).to(cov), upper=False)
    # The smallest eigenvalue is at least the reciprocal of the trace of the inverse covariance.
    least_eigenvalue = 1 / inverse.square().sum()
    if least_eigenvalue > cov.norm() * rounding:
        return factor
    return None


def _few_columns(cov: Tensor, rounding: float) -> Tensor | None:
    """Return R with ``R @ R.T = cov`` for a large covariance of low rank, or None for other covariances.

    The rank may be up to about a quarter of the number of neurons. Products with random vectors then span the range of
    the covariance. Eigenvectors in this range are computed fast.
    """
    n = len(cov)
    if n < _LARGE:
        return None
    num_directions = n // 4
    directions = torch.randn(n, num_directions, dtype=cov.dtype, generator=torch.Generator().manual_seed(0))
    basis = torch.linalg.qr(cov @ directions.to(cov.device)).Q
    cov_times_basis = cov @ basis
    # The covariance in coordinates of the basis. Rounding makes it slightly asymmetric, so it is averaged with its
    # transpose.
    inner = basis.T @ cov_times_basis
    root, noise = eigen_root((inner + inner.T) / 2, rounding)
    # If the basis does not span the range of the covariance, a part of the trace or of the products is missing.
    missed = torch.maximum(cov.trace() - inner.trace(), (cov_times_basis - basis @ inner).norm())
    # Without spare vectors, the products may not span the range.
    has_spare = root.shape[1] <= num_directions - _SPARE
    if missed > noise or not has_spare:
        return None
    full_root: Tensor = basis @ root
    return full_root
