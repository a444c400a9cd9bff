"""Monge Inception Distance (MIND): a sliced Wasserstein distance between the features of two image sets."""

from __future__ import annotations

import torch
from torch import Tensor

from torchmetrics_dna.functional.features import check_features

NUM_PROJECTIONS, SEED = 1000, 2020  # as published
_SCALE = 3
_CELLS = 1 << 22  # projected features at a time


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
    check_projections(num_projections, seed)
    check_features(features_a, features_b, "mind")
    generator = torch.Generator().manual_seed(seed)
    images = min(len(features_a), len(features_b))
    a, b = (_subsample(features, images, generator).double() for features in (features_a, features_b))
    directions = torch.randn(num_projections, a.shape[1], generator=generator)
    directions = (directions / directions.norm(dim=1, keepdim=True)).to(a)
    total = a.new_zeros(())
    size = max(1, _CELLS // images)
    for start in range(0, num_projections, size):
        sorted_a, sorted_b = ((directions[start : start + size] @ rows.T).sort(1).values for rows in (a, b))
        total += (sorted_a - sorted_b).square().sum()
    return total * _SCALE * a.shape[1] / (num_projections * images)


def check_projections(num_projections: int, seed: int) -> None:
    """Raise ValueError unless the number of directions and the seed are valid."""
    for name, value, least in (("num_projections", num_projections, 1), ("seed", seed, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"Argument `{name}` expected to be an integer of at least {least}, but got {value!r}")


def _subsample(features: Tensor, images: int, generator: torch.Generator) -> Tensor:
    """Subsample rows at random; the generator is not used if all rows are needed."""
    if len(features) == images:
        return features
    return features[torch.randperm(len(features), generator=generator)[:images].to(features.device)]
