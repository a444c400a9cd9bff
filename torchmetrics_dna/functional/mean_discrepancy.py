"""CMMD: maximum mean discrepancy between the embeddings of two image sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torchmetrics_dna.functional.features import check_features

if TYPE_CHECKING:
    from torch import Tensor

_SIGMA, SCALE = 10.0, 1000.0  # as published
_CELLS = 1 << 22  # kernel values at a time


def cmmd(embeddings_a: Tensor, embeddings_b: Tensor) -> Tensor:
    r"""Compute CMMD (`Jayasumana et al., CVPR 2024 <https://arxiv.org/abs/2401.09603>`_) of two sets of embeddings.

    .. math::
        1000 \left( \overline{k(a, a')} + \overline{k(b, b')} - 2\, \overline{k(a, b)} \right), \qquad
        k(x, y) = \exp\left(-\frac{|x - y|^2}{2 \sigma^2}\right), \quad \sigma = 10

    with means over all pairs, including each image with itself: the biased estimator, as published. Rows are normalized
    first. The computation is in float64; that of the published code in float32 is accurate to about three digits.

    Args:
        embeddings_a: Embeddings of A, ``(images, n)``, floating point; published for CLIP's projected embeddings.
        embeddings_b: Embeddings of B, ``(images, n)``; the number of images may differ.

    Returns:
        A scalar, float64, 0 or more, without unit.

    Raises:
        ValueError: If shapes do not match, a value is not finite, or a row is all zeros.
        RuntimeError: If a set is empty.

    Example:
        >>> import torch
        >>> a, b = torch.tensor([[1.0, 0.0], [2.0, 0.0]]), torch.tensor([[0.0, 3.0]])
        >>> cmmd(a, b), cmmd(a, a)
        (tensor(19.9003, dtype=torch.float64), tensor(0., dtype=torch.float64))

    """
    check_features(embeddings_a, embeddings_b, "cmmd")
    a, b = (_in_any_order(unit_rows(embeddings)) for embeddings in (embeddings_a, embeddings_b))
    return SCALE * (_mean_kernel(a, a) + _mean_kernel(b, b) - 2 * _mean_kernel(a, b)).clamp(min=0)


def unit_rows(embeddings: Tensor) -> Tensor:
    """Normalize rows, float64; ValueError if a row is all zeros."""
    embeddings = embeddings.double()
    norms = embeddings.norm(dim=1, keepdim=True)
    if (norms == 0).any():
        raise ValueError("Expected embeddings with a direction, but got a row of zeros")
    unit: Tensor = embeddings / norms
    return unit


def _in_any_order(rows: Tensor) -> Tensor:
    """Sort rows by their sums, so that rounding does not depend on their order."""
    return rows[rows.sum(1).argsort()]


def kernel_less_one(a: Tensor, b: Tensor) -> Tensor:
    """Compute the kernel of unit rows minus 1, its maximum, to keep precision; shape ``(len(a), len(b))``."""
    return (((a @ b.T).clamp(max=1) - 1) / _SIGMA**2).expm1()


def _mean_kernel(a: Tensor, b: Tensor) -> Tensor:
    total = a.new_zeros(())
    size = max(1, _CELLS // len(b))
    for start in range(0, len(a), size):
        rows = a[start : start + size]
        if b is a:  # pairs of different rows count twice
            total += kernel_less_one(rows, rows).sum() + 2 * kernel_less_one(rows, a[start + size :]).sum()
        else:
            total += kernel_less_one(rows, b).sum()
    return total / (len(a) * len(b))
