"""Evidence for a distance: its value corrected for sampling noise, an interval, and a permutation test."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import atan, comb, copysign, exp, isinf, isnan, lgamma, nan, pi
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from torchmetrics_dna.functional.permutation import (
    LEAST_FOLDS,
    NUM_RELABELINGS,
    UNEQUAL,
    PermutationTest,
    permutation_test,
    relabelings,
    relabelings_of_size,
)
from torchmetrics_dna.functional.reduction import mean_over_neurons

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from torchmetrics_dna.dna.unions import Unions

    Pseudo = tuple[Tensor, Tensor]  # pseudo-values of folds; number of all images divided by those of each fold

_LEAST_RELABELINGS = 100  # distinct ones of the larger of two unequal sides, or there is no test
_NODES = 64  # of the quadrature


@dataclass(frozen=True)
class Interval:
    """Confidence interval of a distance between two populations.

    Attributes:
        value: Distance corrected for sampling noise: an estimate for the populations.
        low: Lower end, in the unit of the distance; 0 or more, unless a weight is negative.
        high: Upper end.
        confidence: Nominal coverage of the distance between the two populations.
        num_folds: Number of folds of images it is from.

    """

    value: float
    low: float
    high: float
    confidence: float
    num_folds: int


@dataclass(frozen=True, eq=False)
class Jackknife:
    """Delete-one-fold jackknife of a distance, on the scale where the bias is additive: its ``power``.

    Attributes:
        left: Debiased distance; negative if smaller than its noise, or if weights are negative.
        variance: Variance of ``left``; NaN where weights have both signs.
        freedom: Degrees of freedom of the variance.
        sides: For A and B, pseudo-values of the folds, float64, and the number of all images divided by those of each
            fold; None for a side that is taken as exact.

    """

    left: float
    variance: float
    freedom: float
    sides: tuple[Pseudo | None, Pseudo | None]


@dataclass(frozen=True, eq=False)
class Evidence:
    """Evidence for a distance between two sets.

    Attributes:
        interval: Confidence interval around the debiased distance; None for fd of too few images.
        layers: Debiased distance of each layer, shape ``(layers,)``; 0 where nothing is left, NaN for fd of a layer
            with too many neurons for these images. Neurons with negative weights are debiased separately.
        layer_intervals: Confidence interval of each layer around its debiased distance; None for NaN.
        neurons: Debiased distance of each neuron, shape ``(N,)``; of each layer for fd.
        test: Permutation test of the folds; None where a side has no folds, or images in fewer than 5, where one side
            is so much larger that its folds can't be exchanged, or where it would take too long (fd).
        null: Expected distance of equal populations at these numbers of images: its mean over relabelings; None without
            a test.
        null_high: 95 % quantile over relabelings; None without a test.
        jackknife: Jackknife that the interval is computed from.

    """

    interval: Interval | None
    layers: Tensor
    layer_intervals: tuple[Interval | None, ...]
    neurons: Tensor
    test: PermutationTest | None
    null: float | None
    null_high: float | None
    jackknife: Jackknife

    @property
    def debiased(self) -> float | None:
        """Distance corrected for sampling noise; 0 where nothing is left, None without an interval."""
        return None if self.interval is None else self.interval.value


def weigh_evidence(
    values: Tensor,
    unions: Unions,
    power: int = 1,
    weights: Tensor | None = None,
    confidence: float = 0.95,
) -> Evidence | None:
    """Compute the evidence for a distance from folds; None if no side has folds, or one has too few with images.

    Distances of finite sets are biased upwards. If the bias of the distance (``power`` 1) or of its square (2) is
    proportional to 1/images, the delete-group jackknife for folds of unequal size (Busing et al., 1999) estimates it,
    and the variance. A side without folds is taken as exact, and can't be tested.

    Args:
        values: Distance of each neuron, shape ``(N,)``; of each layer for fd.
        unions: Folds of both sides.
        power: Power of the distance to which noise adds; see :class:`~torchmetrics_dna.dna.distance.Distance`.
        weights: Weights of Eq. (5), shape ``(N,)``; None for the plain mean.
        confidence: Level of the interval.

    """
    sides = [unions.sizes_a, unions.sizes_b]
    folded = [len(sizes) for sizes, exact in zip(sides, unions.exact, strict=True) if not exact]
    if not folded or min(folded) < LEAST_FOLDS:
        return None
    parts = [_Part.of(values, unions, power, *part) for part in _by_sign(weights)]
    num_folds = max(map(len, sides))
    interval, *of_layers = (_interval(parts, i, power, confidence, num_folds) for i in range(1 + len(unions.slices)))
    debiased = torch.stack([part.sign * _root(part.left, power) for part in parts]).sum(0)
    test, null, null_high = None, None, None
    testable = len(folded) == 2 and unions.num_relabelings != 0
    in_a = _relabelings(unions, unions.num_relabelings or NUM_RELABELINGS) if testable else None
    if in_a is not None:
        test, under = _test(unions, in_a, power, weights)
        null, null_high = float(under.mean()), float(under.quantile(0.95))
    layers, single = debiased[1 : 1 + len(unions.slices)], debiased[1 + len(unions.slices) :]
    return Evidence(interval, layers, tuple(of_layers), single, test, null, null_high, _overall(parts, power))


def check_confidence(confidence: float) -> None:
    """Raise ValueError unless the confidence is between 0 and 1."""
    if not 0 < confidence < 1:
        raise ValueError(f"Argument `confidence` expected to be between 0 and 1, but got {confidence}")


def student_quantile(probability: float, freedom: float) -> float:
    """Return a quantile of Student's t, by expansion about the normal quantile (Abramowitz and Stegun, 26.7.5)."""
    z = NormalDist().inv_cdf(probability)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(z + sum(term / freedom**i for i, term in enumerate(terms, 1)))


def student_tail(t: float, freedom: float) -> float:
    """Return the probability that Student's t exceeds ``t >= 0``, by integration over ``atan(t / sqrt(freedom))``.

    Example:
        >>> round(student_tail(2.0, 10), 4)
        0.0367

    """
    if isinf(freedom):
        return NormalDist().cdf(-t)
    begin = atan(t / freedom**0.5)
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    # a high power of the cosine is negligible beyond a few of its widths
    end = min(pi / 2, begin + 12 / max(freedom, 1) ** 0.5)
    angles = begin + (end - begin) * (nodes + 1) / 2
    area = float((weights * np.cos(angles) ** (freedom - 1)).sum()) * (end - begin) / 2
    return float(area * exp(lgamma((freedom + 1) / 2) - lgamma(freedom / 2)) / pi**0.5)


def _by_sign(weights: Tensor | None) -> list[tuple[int, Tensor | None]]:
    """Split weights by sign, into (sign, absolute weights).

    Noise biases each of the two sums upwards, so they are debiased separately.
    """
    if weights is None or not (weights < 0).any():
        return [(1, weights)]
    positive, negative = (1, weights.clamp(min=0)), (-1, (-weights).clamp(min=0))
    return [positive, negative] if positive[1].any() else [negative]


@dataclass(frozen=True, eq=False)
class _Part:
    """Delete-one-fold jackknife of a weighted sum whose weights are of one sign.

    Figures are powers of the distance (``power``), on which noise is additive: of the whole, of each layer and of each
    neuron.

    Attributes:
        sign: 1, or -1 for the part that is subtracted.
        left: Debiased figures; negative if smaller than their noise.
        sides: For A and B, pseudo-values of the folds, of the whole and of layers, shape ``(K, 1 + layers)``, and the
            number of all images divided by those of each fold; None for a side that is taken as exact.

    """

    sign: int
    left: Tensor
    sides: tuple[Pseudo | None, Pseudo | None]

    @classmethod
    def of(cls, values: Tensor, unions: Unions, power: int, sign: int, weights: Tensor | None) -> _Part:
        """Compute the part of the neurons with these absolute weights."""
        bias, sides = _delete_one(unions, power, weights)
        return cls(sign, _figures(values[None], unions.slices, weights)[0].pow(power) - bias, sides)

    def jackknife(self, figure: int) -> Jackknife:
        """Return the jackknife of one figure, without the sign."""
        a, b = (None if side is None else (side[0][:, figure], side[1]) for side in self.sides)
        return Jackknife(float(self.left[figure]), *_variance([side for side in (a, b) if side is not None]), (a, b))


def _delete_one(
    unions: Unions, power: int, weights: Tensor | None
) -> tuple[Tensor, tuple[Pseudo | None, Pseudo | None]]:
    """Compute the bias of all figures, and pseudo-values of the whole and the layers; on the scale of ``power``."""
    sides = [unions.sizes_a, unions.sizes_b]
    total = sum(map(len, sides))
    first = torch.arange(total) < len(sides[0])
    out = torch.eye(total, dtype=torch.bool)
    rows = torch.cat([first[None], first & ~out]), torch.cat([~first[None], ~first & ~out])
    distances = (unions.jackknifed or unions.distances)(*rows)
    value, *left = _figures(distances, unions.slices, weights).pow(power)
    bias = torch.zeros_like(value)
    parts: list[Pseudo | None] = []
    for number, sizes in enumerate(sides):
        if len(sizes) == 1:
            parts.append(None)  # taken as exact
            continue
        rest = torch.stack(left[number * len(sides[0]) :][: len(sizes)])
        times = (sizes.double().sum() / sizes).to(rest)
        pseudo = times[:, None] * value - (times[:, None] - 1) * rest
        bias += value - (pseudo / times[:, None]).sum(0)
        parts.append((pseudo[:, : 1 + len(unions.slices)], times))
    return bias, (parts[0], parts[1])


def _overall(parts: list[_Part], power: int) -> Jackknife:
    """Return the jackknife of the whole; with weights of both signs, no scale makes noise additive: NaN variance."""
    jackknives = [part.jackknife(0) for part in parts]
    first = jackknives[0]
    if len(parts) == 2:
        value = float(_root(parts[0].left[0], power) - _root(parts[1].left[0], power))
        return replace(first, left=copysign(abs(value) ** power, value), variance=nan)
    if parts[0].sign > 0:
        return first
    a, b = (None if side is None else (-side[0], side[1]) for side in first.sides)
    return replace(first, left=-first.left, sides=(a, b))


def _interval(parts: list[_Part], figure: int, power: int, confidence: float, num_folds: int) -> Interval | None:
    """Return the interval around a debiased figure; None where a variance is unknown."""
    jackknives = [part.jackknife(figure) for part in parts]
    if any(isnan(jackknife.variance) for jackknife in jackknives):
        return None
    ends = [_ends(jackknife, power, confidence) for jackknife in jackknives]
    if len(parts) == 2:
        value, low, high = _difference(ends[0], ends[1], _correlation(jackknives[0], jackknives[1]))
    else:
        value, low, high = ends[0]
        if parts[0].sign < 0:
            value, low, high = -value, -high, -low
    return Interval(value, low, high, confidence, num_folds)


def _ends(jackknife: Jackknife, power: int, confidence: float) -> tuple[float, float, float]:
    """Return a debiased figure and the ends of its interval."""
    spread = student_quantile((1 + confidence) / 2, jackknife.freedom) * jackknife.variance**0.5
    ends = torch.tensor([0, -spread, spread], dtype=torch.float64)
    value, low, high = _root(jackknife.left + ends, power).tolist()
    return value, low, high


def _difference(
    a: tuple[float, float, float], b: tuple[float, float, float], correlation: float
) -> tuple[float, float, float]:
    """Return the difference of two estimates and its interval, from their intervals (Zou and Donner, 2008)."""
    value = a[0] - b[0]
    below, above = (a[0] - a[1], b[2] - b[0]), (a[2] - a[0], b[0] - b[1])
    reach = [max(0.0, x**2 + y**2 - 2 * correlation * x * y) ** 0.5 for x, y in (below, above)]
    return value, value - reach[0], value + reach[1]


def _correlation(a: Jackknife, b: Jackknife) -> float:
    """Return the correlation of the figures of two jackknives over the same folds."""
    both = [(of_a, of_b) for of_a, of_b in zip(a.sides, b.sides, strict=True) if of_a is not None and of_b is not None]
    # Cov(x, y) = (Var(x + y) - Var(x - y)) / 4
    spread = [_variance([(of_a[0] + sign * of_b[0], of_a[1]) for of_a, of_b in both])[0] for sign in (1, -1)]
    scale = 4 * (a.variance * b.variance) ** 0.5
    return (spread[0] - spread[1]) / scale if scale else 0.0


def _variance(sides: Sequence[Pseudo]) -> tuple[float, float]:
    """Return the variance of a sum of means of pseudo-values, and its degrees of freedom."""
    parts = []
    for pseudo, times in sides:
        mean = (pseudo / times).sum()
        parts.append((((pseudo - mean).square() / (times - 1)).mean().item(), len(times)))
    variance = sum(part for part, _ in parts)
    # Welch-Satterthwaite degrees of freedom
    spread = sum(part**2 / (folds - 1) for part, folds in parts)
    return variance, variance**2 / spread if spread else float("inf")


def paired_p_value(near: Evidence, far: Evidence) -> float | None:
    """Test if two sets are equally far from the same A: a two-sided t-test by the delete-group jackknife.

    Both distances share the sampling noise of A; the test is paired, so that it cancels.

    Args:
        near: Evidence for the distance of A and one set.
        far: Evidence for the distance of the same A, in the same folds, and another set.

    Returns:
        The p-value; None where the noise of a distance is unknown.

    """
    first, second = near.jackknife, far.jackknife
    a, b = first.sides[0], second.sides[0]
    if (a is None) != (b is None) or isnan(first.variance + second.variance):
        return None
    parts = [side for side in (first.sides[1], second.sides[1]) if side is not None]
    if a is not None and b is not None:
        if not torch.equal(a[1], b[1]):
            return None
        parts.append((a[0] - b[0], a[1]))
    variance, freedom = _variance(parts)
    if not variance:
        return float(first.left == second.left)
    return min(1.0, 2 * student_tail(abs(first.left - second.left) / variance**0.5, freedom))


def _relabelings(unions: Unions, most: int) -> Tensor | None:
    """Draw relabelings of folds, balanced if sides have about the same size; None if there are too few."""
    sizes_a, sizes_b = unions.sizes_a, unions.sizes_b
    few, many = sorted((int(sizes_a.sum()), int(sizes_b.sum())))
    if many <= UNEQUAL * few:
        return relabelings(len(sizes_a), len(sizes_b), most)
    a_is_smaller = sizes_a.sum() <= sizes_b.sum()
    smaller, larger = (sizes_a, sizes_b) if a_is_smaller else (sizes_b, sizes_a)
    in_smaller = relabelings_of_size(smaller, larger, most)
    # relabelings that exchange the same large folds are nearly the same
    if len(torch.unique(in_smaller[:, len(smaller) :], dim=0)) < _LEAST_RELABELINGS:
        return None
    return in_smaller if a_is_smaller else ~in_smaller.roll(len(sizes_a), 1)


def _test(unions: Unions, in_a: Tensor, power: int, weights: Tensor | None) -> tuple[PermutationTest, Tensor]:
    """Return the test, and the distance of the whole under each relabeling."""
    distances = unions.distances(in_a, ~in_a)
    under = mean_over_neurons(_weighted(distances[1:], weights))
    sizes = torch.cat([unions.sizes_a, unions.sizes_b]).double()
    images = in_a.double() @ sizes
    # noise is proportional to 1/images of a side, which varies when folds are unequal
    scale = (images * (sizes.sum() - images)).pow(1 / power).to(distances)
    exact = len(in_a) == comb(len(sizes), len(unions.sizes_a))
    return permutation_test(distances * scale[:, None], unions.slices, weights, exact), under


def _figures(distances: Tensor, slices: Sequence[slice], weights: Tensor | None) -> Tensor:
    """Return the figures of the whole, of each layer and of each neuron, ``(P, 1 + layers + N)``."""
    weighted = _weighted(distances, weights)
    layers = [mean_over_neurons(weighted[:, rows])[:, None] for rows in slices]
    return torch.cat([mean_over_neurons(weighted)[:, None], *layers, weighted], 1)


def _weighted(distances: Tensor, weights: Tensor | None) -> Tensor:
    return distances if weights is None else distances * (weights.to(distances) * len(weights))


def _root(left: Any, power: int) -> Tensor:
    """Invert ``power``; negative figures become 0."""
    figures: Tensor = left.clamp(min=0).pow(1 / power)
    return figures
