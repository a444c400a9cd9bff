"""Precision, recall, density and coverage by nearest neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

from torchmetrics_dna.functional.features import check_features

NEAREST = 5  # as published for density and coverage
_CELLS = 1 << 22  # distances at a time


def prdc(features_real: Tensor, features_fake: Tensor, nearest_k: int = NEAREST) -> dict[str, Tensor]:
    r"""Compute precision, recall, density and coverage of fake features.

    The ball of an image reaches to its k-th nearest neighbour in its own set. Precision is the share of fake images
    inside a real ball, recall that of real images inside a fake one (`Kynkäänniemi et al., 2019
    <https://arxiv.org/abs/1904.06991>`_). Density is the number of real balls that a fake image lies in, over k, and
    coverage the share of real balls with a fake image inside (`Naeem et al., 2020
    <https://arxiv.org/abs/2002.09797>`_). A copy of an image lies in its ball, also in one without extent. They depend
    on the numbers of images: compare sets of one size.

    Args:
        features_real: Real features, shape ``(images, n)``, floating point.
        features_fake: Fake features, shape ``(images, n)``; the number of images may differ.
        nearest_k: Rank of the neighbour, k.

    Returns:
        ``precision``, ``recall``, ``density`` and ``coverage``, scalars, float64; higher is better. Density may be
        above 1, the others are from 0 to 1.

    Raises:
        ValueError: If shapes do not match, a value is not finite, or ``nearest_k`` is not a positive integer.
        RuntimeError: If a set has no more than ``nearest_k`` images.

    Example:
        >>> real = torch.arange(8.0)[:, None]
        >>> {name: round(float(value), 3) for name, value in prdc(real, real + 2.2, nearest_k=1).items()}
        {'precision': 0.75, 'recall': 0.75, 'density': 1.375, 'coverage': 0.75}

    """
    check_nearest(nearest_k)
    check_features(features_real, features_fake, "prdc")
    real, fake = features_real.double(), features_fake.double()
    if min(len(real), len(fake)) <= nearest_k:
        raise RuntimeError(
            f"More than {nearest_k} images are required for both sides to compute prdc, but got {len(real)} and"
            f" {len(fake)}"
        )
    radii, fake_radii = _radii(real, nearest_k), _radii(fake, nearest_k)
    balls = torch.zeros(len(fake), dtype=torch.int64, device=real.device)
    covered, recalled = (torch.zeros(len(real), dtype=torch.bool, device=real.device) for _ in range(2))
    for rows in _blocks(len(real), len(fake)):
        distances = _distances(real[rows], fake)
        inside = (distances < radii[rows, None]) | (distances == 0)
        balls += inside.sum(0)
        covered[rows], recalled[rows] = inside.any(1), ((distances < fake_radii) | (distances == 0)).any(1)
    values = (balls > 0).double().mean(), recalled.double().mean(), balls.double().mean() / nearest_k
    return dict(zip(("precision", "recall", "density", "coverage"), (*values, covered.double().mean()), strict=True))


def check_nearest(nearest_k: int) -> None:
    """Raise ValueError unless ``nearest_k`` is a positive integer."""
    if not isinstance(nearest_k, int) or isinstance(nearest_k, bool) or nearest_k < 1:
        raise ValueError(f"Argument `nearest_k` expected to be an integer of at least 1, but got {nearest_k!r}")


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """Compute the distances of all pairs of rows; 0 where only rounding is left."""
    distances = torch.cdist(a, b)
    # squares are differences of sums of n squares
    rounding = (a.shape[1] * torch.finfo(a.dtype).eps) ** 0.5 * torch.maximum(a.norm(dim=1).max(), b.norm(dim=1).max())
    return distances.masked_fill_(distances <= rounding, 0)


def _radii(features: Tensor, nearest_k: int) -> Tensor:
    """Compute the distance of each row to its k-th nearest other row."""
    radii = features.new_empty(len(features))
    for rows in _blocks(len(features), len(features)):
        distances = _distances(features[rows], features)
        own = torch.arange(rows.start, rows.start + len(distances), device=features.device)
        # exclude itself
        distances[torch.arange(len(distances), device=features.device), own] = torch.inf
        radii[rows] = distances.kthvalue(nearest_k, 1).values
    return radii


def _blocks(rows: int, columns: int) -> list[slice]:
    size = max(1, _CELLS // columns)
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]
