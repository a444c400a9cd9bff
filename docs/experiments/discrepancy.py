"""How well distances between data sets predict the score of a model that was trained on another set."""

from __future__ import annotations

import torch
from torch import Tensor


def generalization_discrepancy(scores: Tensor, distances: Tensor) -> Tensor:
    r"""Eq. (8) of the paper: what is lost when training sets are ranked by distance instead of by their true scores.

    .. math::
        d = \frac{1}{|V||T|} \sum_{v \in V} \sum_i
        |s_v(T_v^\mathrm{gt}[i]) - s_v(T_v^\mathrm{pred}[i])|

    where :math:`T_v^\mathrm{gt}` are the training sets from the best to the worst on validation set v, and
    :math:`T_v^\mathrm{pred}` from the closest to the furthest.

    Args:
        scores: Of a model trained on each set and validated on each, shape ``(V, T)``; higher is better (mIoU,
            accuracy). NaN where a pair is to be left out, such as a set with itself.
        distances: Between the same sets, shape ``(V, T)``.

    Returns:
        A scalar, float64, in the unit of the scores; 0 if both rankings agree.

    Raises:
        ValueError: If shapes differ, or a distance of a pair that counts is not finite.

    """
    if scores.ndim != 2 or scores.shape != distances.shape:
        raise ValueError(
            f"Expected scores and distances of one shape (V, T), but got {tuple(scores.shape)} and"
            f" {tuple(distances.shape)}"
        )
    counts = ~scores.isnan()
    if not (counts.any() and distances[counts].isfinite().all()):
        raise ValueError("Expected a finite distance for each pair that has a score, and at least one such pair")
    lost = [
        (score[has].sort(descending=True).values - score[has][distance[has].argsort(stable=True)]).abs()
        for score, distance, has in zip(scores.double(), distances.to(scores.device), counts, strict=True)
    ]
    return torch.cat(lost).mean()
