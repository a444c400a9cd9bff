"""Fréchet distance between the multivariate Gaussians of a layer, the fd of the paper's benchmarks."""

from __future__ import annotations

import torch
from torch import Tensor


def layer_frechet_distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> Tensor:
    r"""Fréchet distance (fd) between two Gaussians over all neurons of a layer, as in FID.

    .. math::
        |\mu_A - \mu_B|^2 + \mathrm{tr}\left(\Sigma_A + \Sigma_B - 2 (\Sigma_A \Sigma_B)^{1/2}\right)

    The trace of the matrix square root is the sum of the singular values of :math:`R_A^T R_B`, where
    :math:`R R^T = \Sigma` is built from the eigenvectors of a covariance. No square root of a rounding error is ever
    taken, so covariances of fewer images than neurons need no offset.

    Args:
        mean_a: Shape ``(n,)``.
        cov_a: Symmetric, shape ``(n, n)``.
        mean_b: Shape ``(n,)``.
        cov_b: Symmetric, shape ``(n, n)``.

    Returns:
        A scalar, float64, 0 or more, in squared activations.

    Raises:
        ValueError: If shapes do not fit, or something is not finite.

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
    root_a, root_b = _root(cov_a), _root(cov_b)
    trace = cov_a.double().trace() + cov_b.double().trace() - 2 * torch.linalg.svdvals(root_a.T @ root_b).sum()
    distance: Tensor = (mean_a.double() - mean_b.double()).square().sum() + trace
    return distance.clamp(min=0)


def _root(cov: Tensor) -> Tensor:
    """R of ``R @ R.T = cov``, one column for each eigenvalue that is more than rounding."""
    values, vectors = torch.linalg.eigh(cov.double())
    noise = values.abs().max() * len(values) * torch.finfo(torch.float64).eps
    real = values > noise
    root: Tensor = vectors[:, real] * values[real].sqrt()
    return root
