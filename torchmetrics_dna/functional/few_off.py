"""Are a few images of a set unlike a reference's own? A permutation test of their outlier scores, and how many."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

import torch
from torch import Tensor

from torchmetrics_dna.functional.permutation import NUM_RELABELINGS, SIGNIFICANT

_TAIL = 0.1  # share of the reference's own images beyond the score above which images are counted
_NORMAL = 1.4826  # a normal distribution's deviation by its median absolute deviation
_TIE = 1e-9  # relative difference below which sums are tied


class FewOff(NamedTuple):
    """Result of the test of whether some images are unlike the reference's own, and about how many are.

    Attributes:
        p_value: P-value of the test that none is; never 0.
        share: Estimate of the share of the images that are.
        low: Lower end of the range of that share, two standard errors.
        high: Upper end.
        fewest: Number of images that are enough for a p-value of 0.05 if they are much further away than all others;
            None if no number is.

    """

    p_value: float
    share: float
    low: float
    high: float
    fewest: int | None


def few_are_off(scores: Tensor, typical: Tensor) -> FewOff:
    r"""Test whether some images have higher outlier scores than a reference's own, and estimate the share of those.

    The statistic is the sum, over the images, of the squares of :math:`z = (x - m) / (1.4826\, d)`, where x is the
    logarithm of a score, m the median of all images of both sides, d the median absolute deviation from it, and z below
    0 counts as 0: a few large scores weigh much, however many others there are. P is the share of 1,000 relabelings of
    the images, the observed labels included, with a sum at least as large.

    The share (Storey, 2002) is the excess of images above the score that a tenth of the reference's own exceed. It
    leaves out images that are not that far off.

    Args:
        scores: Scores of the images, shape ``(B,)``, 0 or more.
        typical: Scores of the reference's own images, each left out of the reference, shape ``(n,)``.

    Returns:
        The p-value, and the share with its range, which two standard errors of both sides' counts give.

    Raises:
        ValueError: If a side is empty, has another shape, or a score is negative or not finite.

    Example:
        >>> typical = 1 + torch.rand(100, generator=torch.Generator().manual_seed(0)) / 4
        >>> scores = torch.cat([typical[:55], torch.full((5,), 3.0)])
        >>> few_are_off(scores, typical).p_value, few_are_off(scores[:55], typical).p_value > 0.05
        (0.004, True)

    """
    for name, side in (("scores", scores), ("typical", typical)):
        if side.ndim != 1 or not len(side):
            raise ValueError(f"Argument `{name}` expected to have shape (images,), but got {tuple(side.shape)}")
        if not ((side >= 0) & side.isfinite()).all():
            raise ValueError(f"Argument `{name}` expected to be 0 or more, but got {side.min()} to {side.max()}")
    sides = [side.detach().cpu().double() for side in (scores, typical)]
    return FewOff(_p_value(*sides), *_share(*sides), fewest_images(*map(len, sides)))


def score_limit(typical: Tensor, share: float = 0.05) -> float:
    """Return the score that at most this share of images of the reference's own kind are beyond.

    Of n scores, and one of a new image, each is the largest with the same chance, so the limit is the k-th smallest of
    the n, with k = (n + 1) * (1 - share), rounded up.

    Args:
        typical: Scores of the reference's own images, each left out of the reference, shape ``(n,)``.
        share: A share from ``1 / (n + 1)``, below 1.

    Raises:
        ValueError: If there are no scores, one is not finite, or the share is none, or too small for so few images.

    Example:
        >>> score_limit(torch.arange(1.0, 100.0), share=0.1)
        90.0

    """
    check_typical(typical)
    if not 0 < share < 1:
        raise ValueError(f"Argument `share` expected to be above 0 and below 1, but got {share}")
    place = ceil((len(typical) + 1) * (1 - share) - _TIE)
    if place > len(typical):
        raise ValueError(
            f"Argument `share` expected to be at least {1 / (len(typical) + 1):.2g} with {len(typical)} images in the"
            f" reference, but got {share:g}; give more images as the reference"
        )
    return float(typical.sort().values[place - 1])


def check_typical(typical: Tensor) -> None:
    """Raise ValueError unless these are scores: one axis, and finite."""
    is_row = isinstance(typical, Tensor) and typical.ndim == 1 and len(typical) > 0
    if not is_row or not typical.isfinite().all():
        got = f"shape {tuple(typical.shape)}" if isinstance(typical, Tensor) else repr(typical)
        raise ValueError(f"Argument `typical` expected to be finite scores of shape (images,), but got {got}")


def _p_value(scores: Tensor, typical: Tensor) -> float:
    tiny = torch.finfo(torch.float64).tiny
    logs = torch.cat([scores, typical]).clamp(min=tiny).log()
    offsets = logs - logs.quantile(0.5)
    deviation = offsets.abs().quantile(0.5).clamp(min=_TIE)  # equal scores have none
    squares = (offsets / (_NORMAL * deviation)).clamp(min=0).square()
    observed, ordered = squares[: len(scores)].sum(), squares.sort().values  # so that p is that of any order
    generator = torch.Generator().manual_seed(0)
    drawn = (torch.randperm(len(logs), generator=generator)[: len(scores)] for _ in range(NUM_RELABELINGS - 1))
    sums = torch.stack([ordered[images].sum() for images in drawn])
    return (1 + int((sums >= observed * (1 - _TIE)).sum())) / NUM_RELABELINGS


def _share(scores: Tensor, typical: Tensor) -> tuple[float, float, float]:
    """Return Storey's estimate of the share, and its range."""
    beyond = float((scores > typical.quantile(1 - _TAIL)).double().mean())
    share = min(1.0, max(0.0, (beyond - _TAIL) / (1 - _TAIL)))
    # the quantile is an estimate, too; the images that are not off move with it
    variance = beyond * (1 - beyond) / len(scores) + (1 - share) ** 2 * _TAIL * (1 - _TAIL) / len(typical)
    error = 2 * variance**0.5 / (1 - _TAIL)
    return share, max(0.0, share - error), min(1.0, share + error)


def fewest_images(num_images: int, num_typical: int, level: float = SIGNIFICANT) -> int | None:
    """Return how many of the highest scores, if all are of the images, are unlikely by chance; None if no number is.

    Example:
        >>> fewest_images(100, 100), fewest_images(100, 400)
        (5, 2)

    """
    p = 1.0
    for others in range(num_images):
        p *= (num_images - others) / (num_images + num_typical - others)
        if p <= level:
            return others + 1
    return None
