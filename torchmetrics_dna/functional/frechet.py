"""Fréchet distance between the Gaussians of two sets, neuron by neuron."""

from __future__ import annotations

import torch
from torch import Tensor

from torchmetrics_dna.functional.reduction import Reduction, weigh_and_reduce


def dna_frechet(
    mean_a: Tensor,
    var_a: Tensor,
    mean_b: Tensor,
    var_b: Tensor,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Compute the one-dimensional Fréchet distance (dna-fd): Eq. (5) of the paper for the Gaussians of section 3.1.

    .. math::
        \mathrm{FD}_n = (\mu_A - \mu_B)^2 + \sigma_A^2 + \sigma_B^2 - 2 \sigma_A \sigma_B
        = (\mu_A - \mu_B)^2 + (\sigma_A - \sigma_B)^2

    The last form is computed, because it can't be negative. The unit is squared activations.

    Args:
        mean_a: Means of A, shape ``(N,)``.
        var_a: Variances of A, shape ``(N,)``, at least 0.
        mean_b: Means of B, shape ``(N,)``.
        var_b: Variances of B, shape ``(N,)``, at least 0.
        weights: Weights of the neurons, shape ``(N,)``. By default, all weights are :math:`1/N`.
        reduction: ``"mean"`` returns the weighted sum, a scalar. ``"none"`` returns its terms times N, shape ``(N,)``.

    Returns:
        Distances, float64.

    Raises:
        ValueError: If shapes differ, a mean or variance is not finite, a variance is negative, or weights are not
            finite.

    Example:
        >>> from torch import tensor
        >>> dna_frechet(tensor([0.0, 1.0]), tensor([1.0, 4.0]), tensor([3.0, 1.0]), tensor([1.0, 9.0]))
        tensor(5., dtype=torch.float64)

    """
    _check_moments(mean_a, var_a, mean_b, var_b)
    distances = (mean_a.double() - mean_b.double()).square()
    distances += (var_a.double().sqrt() - var_b.double().sqrt()).square()
    return weigh_and_reduce(distances, weights, reduction)


def _check_moments(mean_a: Tensor, var_a: Tensor, mean_b: Tensor, var_b: Tensor) -> None:
    """Raise ValueError unless means and variances have one shape, are finite, and variances are not negative."""
    moments = (mean_a, var_a, mean_b, var_b)
    shapes = {tuple(moment.shape) for moment in moments}
    if len(shapes) != 1 or mean_a.ndim != 1:
        raise ValueError(f"Expected means and variances of one shape (N,), but got {sorted(shapes)}")
    if not ((var_a >= 0) & (var_b >= 0)).all():
        raise ValueError("Expected variances that are 0 or more, but got a negative or NaN one")
    is_finite = torch.stack([moment.isfinite() for moment in moments]).all(0)
    if not is_finite.all():
        neuron = int((~is_finite).nonzero()[0])
        raise ValueError(f"Expected finite means and variances, but neuron {neuron} has NaN or infinity")
