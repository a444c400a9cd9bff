"""How sure a dna-emd is: a jackknife interval from folds of images, and the distance of a set to itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING

import torch

from torchmetrics_dna.dna.base import merged
from torchmetrics_dna.functional.reduction import weigh_and_reduce

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from torchmetrics_dna.dna import HistogramDNA

LEAST_FOLDS = 5


class TooFewFoldsError(ValueError):
    """Fewer folds hold images than an interval takes."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval of dna-emd.

    Attributes:
        value: dna-emd without what the noise of finite sets adds to it: an estimate for the populations.
        low: The interval's lower end, in bins, 0 or more.
        high: Its upper end.
        confidence: The share of intervals made like this that hold the distance between the two populations.
        num_folds: How many folds of images it is from.

    """

    value: float
    low: float
    high: float
    confidence: float
    num_folds: int


def jackknife(
    folds_a: Sequence[HistogramDNA] | HistogramDNA,
    folds_b: Sequence[HistogramDNA] | HistogramDNA,
    weights: Tensor | None = None,
    confidence: float = 0.95,
) -> Interval:
    r"""Confidence interval of the dna-emd between two sets, each in disjoint folds of images.

    The delete-group jackknife for groups of unequal size (Busing et al., 1999), on the square of dna-emd: leaving one
    fold out at a time gives the variance that each side's images cause, and how much higher the distance of finite sets
    is than that of the populations; Student's t turns it into an interval. Squares, because noise adds to them: what it
    adds falls with the number of images, near 0 as well as far from it. The interval is for the populations; a small
    set's own dna-emd may lie above it.

    Args:
        folds_a: Histogram DNAs of the folds; empty ones are left out. Or one DNA, which is taken for exact.
        folds_b: Likewise.
        weights: The weights of Eq. (5), shape ``(N,)``; None for the plain mean.
        confidence: Between 0 and 1.

    Raises:
        ValueError: If the confidence is none; TooFewFoldsError if fewer than 5 folds of a side hold images.

    """
    check_confidence(confidence)
    sides = [_filled(folds) for folds in (folds_a, folds_b)]
    whole_a, whole_b = (merged(side) for side in sides)

    def square(a: HistogramDNA, b: HistogramDNA) -> float:
        return _distance(a, b, weights) ** 2

    value = square(whole_a, whole_b)
    bias_a, variance_a = _delete_one(sides[0], whole_a, value, lambda rest: square(rest, whole_b))
    bias_b, variance_b = _delete_one(sides[1], whole_b, value, lambda rest: square(whole_a, rest))
    variance = variance_a + variance_b
    # Welch and Satterthwaite: how many folds the sum of two variances is worth
    parts = sum(v**2 / max(1, len(side) - 1) for v, side in zip((variance_a, variance_b), sides, strict=True))
    freedom = variance**2 / parts if parts else float("inf")
    reach = student_quantile((1 + confidence) / 2, freedom) * variance**0.5
    centre, low, high = (max(0.0, value - bias_a - bias_b + shift) ** 0.5 for shift in (0, -reach, reach))
    return Interval(centre, low, high, confidence, max(map(len, sides)))


def noise_floor(folds: Sequence[HistogramDNA], weights: Tensor | None = None, splits: int = 10, seed: int = 0) -> float:
    """dna-emd between random halves of one set, the mean of several splits: what no difference looks like.

    Args:
        folds: Histogram DNAs of disjoint folds of its images.
        weights: The weights of Eq. (5), shape ``(N,)``; None for the plain mean.
        splits: How many times to split.
        seed: Of the splits.

    Raises:
        ValueError: If fewer than two folds hold images.

    """
    filled = [fold for fold in folds if fold.num_images]
    if len(filled) < 2:
        raise ValueError("The noise floor takes at least 2 folds with images; give more images")
    whole = merged(filled)
    within = [replace(fold, ranges=whole.ranges, counts=fold.counts_within(whole.ranges)) for fold in filled]
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(splits):
        order = torch.randperm(len(within), generator=generator).tolist()
        half = merged([within[i] for i in order[: len(order) // 2]])
        found.append(_distance(half, _without(whole, half), weights))
    return sum(found) / len(found)


def check_confidence(confidence: float) -> None:
    """ValueError unless it is between 0 and 1."""
    if not 0 < confidence < 1:
        raise ValueError(f"Argument `confidence` expected to be between 0 and 1, but got {confidence}")


def student_quantile(probability: float, freedom: float) -> float:
    """Quantile of Student's t, by its expansion about the normal one (Abramowitz and Stegun, 26.7.5)."""
    z = NormalDist().inv_cdf(probability)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(z + sum(term / freedom**i for i, term in enumerate(terms, 1)))


def _filled(folds: Sequence[HistogramDNA] | HistogramDNA) -> list[HistogramDNA]:
    """The folds that hold images; one for a DNA that is taken for exact."""
    if not isinstance(folds, Sequence):
        return [folds]
    filled = [fold for fold in folds if fold.num_images]
    if len(filled) < LEAST_FOLDS:
        images = sum(fold.num_images for fold in filled)
        raise TooFewFoldsError(
            f"A jackknife interval takes at least {LEAST_FOLDS} folds with images on each side, but got {len(filled)},"
            f" of {images} images; give more images"
        )
    return filled


def _delete_one(
    folds: Sequence[HistogramDNA], whole: HistogramDNA, value: float, distance: Callable[[HistogramDNA], float]
) -> tuple[float, float]:
    """Bias and variance of the value that the images of one side cause."""
    if len(folds) == 1:
        return 0.0, 0.0
    left = [distance(_without(whole, fold)) for fold in folds]
    sizes = [whole.num_images / fold.num_images for fold in folds]
    pseudo = [size * value - (size - 1) * rest for size, rest in zip(sizes, left, strict=True)]
    mean = sum(p / size for p, size in zip(pseudo, sizes, strict=True))
    variance = sum((p - mean) ** 2 / (size - 1) for p, size in zip(pseudo, sizes, strict=True)) / len(folds)
    return value - mean, variance


def _without(whole: HistogramDNA, part: HistogramDNA) -> HistogramDNA:
    """What is left when the images of a part are taken away; in the bins of the whole."""
    counts = whole.counts - part.counts_within(whole.ranges).to(whole.counts.device)
    return replace(whole, counts=counts, num_images=whole.num_images - part.num_images)


def _distance(a: HistogramDNA, b: HistogramDNA, weights: Tensor | None) -> float:
    return float(weigh_and_reduce(a.distances(b), weights, "mean"))
