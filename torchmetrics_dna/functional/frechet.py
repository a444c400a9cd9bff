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
    r"""1-D Fréchet distance (dna-fd): Eq. (5) of the paper over the Gaussians of section 3.1.

    .. math::
        \mathrm{FD}_n = (\mu_A - \mu_B)^2 + \sigma_A^2 + \sigma_B^2 - 2 \sigma_A \sigma_B
        = (\mu_A - \mu_B)^2 + (\sigma_A - \sigma_B)^2

    The right-hand form is the one computed: it can't go below zero. The unit is that of the activations, squared.

    Args:
        mean_a: Shape ``(N,)``.
        var_a: Variances, shape ``(N,)``, at least 0.
        mean_b: Shape ``(N,)``.
        var_b: Variances, shape ``(N,)``, at least 0.
        weights: One per neuron, shape ``(N,)``. Default: :math:`1/N` each, the plain mean.
        reduction: ``"mean"``: the weighted sum, a scalar. ``"none"``: its terms times N, shape ``(N,)``.

    Returns:
        float64.

    Raises:
        ValueError: If shapes differ, a mean or variance is not finite, a variance is negative, or weights are not
            finite.

    Example:
        >>> from torch import tensor
        >>> dna_frechet(tensor([0.0, 1.0]), tensor([1.0, 4.0]), tensor([3.0, 1.0]), tensor([1.0, 9.0]))
        tensor(5., dtype=torch.float64)

    """
    shapes = {tuple(t.shape) for t in (mean_a, var_a, mean_b, var_b)}
    if len(shapes) != 1 or mean_a.ndim != 1:
        raise ValueError(f"Expected means and variances of one shape (N,), but got {sorted(shapes)}")
    if not ((var_a >= 0) & (var_b >= 0)).all():
        raise ValueError("Expected variances that are 0 or more, but got a negative or NaN one")
    finite = torch.stack([t.isfinite() for t in (mean_a, var_a, mean_b, var_b)]).all(0)
    if not finite.all():
        raise ValueError(
            f"Expected finite means and variances, but neuron {int((~finite).nonzero()[0])} has NaN or infinity"
        )
    distances = (mean_a.double() - mean_b.double()).square()
    distances += (var_a.double().sqrt() - var_b.double().sqrt()).square()
    return weigh_and_reduce(distances, weights, reduction)
