"""Delete-one-fold jackknife of a distance: its bias from sampling noise, and its variance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import copysign, isnan, nan
from typing import TYPE_CHECKING

import torch

from torchmetrics_dna.functional.reduction import mean_over_neurons

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from torchmetrics_dna.dna.unions import Noise, Unions

    Pseudo = tuple[Tensor, Tensor]  # pseudo-values of folds; number of all images divided by those of each fold


@dataclass(frozen=True, eq=False)
class Jackknife:
    """Delete-one-fold jackknife of a distance, on the scale where the bias is additive: its ``power``."""

    left: float  # debiased distance; negative if smaller than its noise, or if weights are negative
    variance: float  # of ``left``; NaN where weights have both signs
    freedom: float  # degrees of freedom of the variance
    sides: tuple[Pseudo | None, Pseudo | None]  # of A and B; None for one that is taken as exact; pairs are those of A


@dataclass(frozen=True, eq=False)
class Part:
    """Jackknife of a weighted sum whose weights are of one sign.

    Figures are powers of the distance (``power``), on which noise is additive: of the whole, of each layer and of each
    neuron; pseudo-values are of the whole and of layers, shape ``(K, 1 + layers)``.
    """

    sign: int  # -1 for the part that is subtracted
    weights: Tensor | None  # absolute, (N,); None for the plain mean
    left: Tensor  # debiased figures; negative if smaller than their noise
    centre: Tensor  # the same, by the relabelings of a test where these vary less
    upper: Tensor  # figures that the upper ends of intervals are from
    sides: tuple[Pseudo | None, Pseudo | None]  # of A and B; None for a side that is taken as exact

    def jackknife(self, figure: int) -> Jackknife:
        """Return the jackknife of one figure, without the sign."""
        a, b = (None if side is None else (side[0][:, figure], side[1]) for side in self.sides)
        return Jackknife(float(self.left[figure]), *variance_of([side for side in (a, b) if side is not None]), (a, b))


def parts_by_sign(values: Tensor, unions: Unions, power: int, weights: Tensor | None) -> list[Part]:
    """Jackknife the sums of positive and of negative weights separately, since noise biases each upwards."""
    signed: list[tuple[int, Tensor | None]] = [(1, weights)]
    if weights is not None and (weights < 0).any():
        both = [(1, weights.clamp(min=0)), (-1, (-weights).clamp(min=0))]
        signed = [(sign, absolute) for sign, absolute in both if absolute.any()]
    parts = []
    for sign, absolute in signed:
        if unions.noise is None:
            bias, sides = _delete_one(unions, power, absolute)
        else:
            bias, sides = _known_noise(unions.noise(), unions, absolute)
        left = figures_of(values[None], unions.slices, absolute)[0].pow(power) - bias
        parts.append(Part(sign, absolute, left, left, left, sides))
    return parts


def overall(parts: list[Part], power: int) -> Jackknife:
    """Return the jackknife of the whole; with weights of both signs, no scale makes noise additive: NaN variance."""
    first = parts[0].jackknife(0)
    if len(parts) == 2:
        value = float(root(parts[0].left[0], power) - root(parts[1].left[0], power))
        return replace(first, left=copysign(abs(value) ** power, value), variance=nan)
    if parts[0].sign > 0:
        return first
    a, b = (None if side is None else (-side[0], side[1]) for side in first.sides)
    return replace(first, left=-first.left, sides=(a, b))


def _delete_one(
    unions: Unions, power: int, weights: Tensor | None
) -> tuple[Tensor, tuple[Pseudo | None, Pseudo | None]]:
    """Compute the bias of all figures, and pseudo-values of the whole and the layers; on the scale of ``power``."""
    sides = [unions.sizes_a, unions.sizes_b]
    total = sum(map(len, sides))
    first = torch.arange(total) < len(sides[0])
    out = torch.eye(total, dtype=torch.bool)
    if unions.paired:  # a fold is left out of both sides at once, so that what its pairs share cancels
        out, sides = torch.eye(len(sides[0]), dtype=torch.bool).repeat(1, 2), sides[:1]
    rows = torch.cat([first[None], first & ~out]), torch.cat([~first[None], ~first & ~out])
    distances = unions.distances(*rows)
    value, *left = figures_of(distances, unions.slices, weights).pow(power)
    bias = torch.zeros_like(value)
    pseudo_values: list[Pseudo | None] = []
    for number, sizes in enumerate(sides):
        if len(sizes) == 1:
            pseudo_values.append(None)  # taken as exact
            continue
        rest = torch.stack(left[number * len(sides[0]) :][: len(sizes)])
        times = (sizes.double().sum() / sizes).to(rest)
        pseudo = times[:, None] * value - (times[:, None] - 1) * rest
        bias += value - (pseudo / times[:, None]).sum(0)
        pseudo_values.append((pseudo[:, : 1 + len(unions.slices)], times))
    return bias, (pseudo_values[0], None if unions.paired else pseudo_values[1])


def _known_noise(
    noise: Noise, unions: Unions, weights: Tensor | None
) -> tuple[Tensor, tuple[Pseudo | None, Pseudo | None]]:
    """Return the bias of all figures, and influences in the place of pseudo-values, whose variance is the same."""

    def figures(influence: Pseudo | None) -> Pseudo | None:
        if influence is None:
            return None
        return figures_of(influence[0], unions.slices, weights)[:, : 1 + len(unions.slices)], influence[1]

    a, b = map(figures, noise.influences)
    if unions.paired and a is not None and b is not None:  # units of both sides hold the same pairs
        a, b = (a[0] + b[0], a[1]), None
    return figures_of(noise.bias[None], unions.slices, weights)[0], (a, b)


def variance_of(sides: Sequence[Pseudo]) -> tuple[float, float]:
    """Return the variance of a sum of means of pseudo-values, and its degrees of freedom."""
    parts = []
    for pseudo, times in sides:
        mean = (pseudo / times).sum()
        parts.append((((pseudo - mean).square() / (times - 1)).mean().item(), len(times)))
    variance = sum(part for part, _ in parts)
    # Welch-Satterthwaite degrees of freedom
    spread = sum(part**2 / (folds - 1) for part, folds in parts)
    return variance, variance**2 / spread if spread else float("inf")


def correlation(a: Jackknife, b: Jackknife) -> float:
    """Return the correlation of the figures of two jackknives over the same folds."""
    both = [(of_a, of_b) for of_a, of_b in zip(a.sides, b.sides, strict=True) if of_a is not None and of_b is not None]
    # Cov(x, y) = (Var(x + y) - Var(x - y)) / 4
    spread = [variance_of([(of_a[0] + sign * of_b[0], of_a[1]) for of_a, of_b in both])[0] for sign in (1, -1)]
    scale = 4 * (a.variance * b.variance) ** 0.5
    return (spread[0] - spread[1]) / scale if scale else 0.0


def difference_of(near: Jackknife, far: Jackknife) -> tuple[float, float] | None:
    """Return the variance of the difference of two distances from the same A, and its degrees of freedom.

    The noise of A is in both, and that of pairs in all; it cancels. None where the noise of a distance is unknown.
    """
    a, b = near.sides[0], far.sides[0]
    if (a is None) != (b is None) or isnan(near.variance + far.variance):
        return None
    parts = [side for side in (near.sides[1], far.sides[1]) if side is not None]
    if a is not None and b is not None:
        if not torch.equal(a[1], b[1]):
            return None
        parts.append((a[0] - b[0], a[1]))
    return variance_of(parts)


def figures_of(distances: Tensor, slices: Sequence[slice], weights: Tensor | None) -> Tensor:
    """Return the figures of the whole, of each layer and of each neuron, ``(P, 1 + layers + N)``."""
    terms = weighted(distances, weights)
    layers = [mean_over_neurons(terms[:, rows])[:, None] for rows in slices]
    return torch.cat([mean_over_neurons(terms)[:, None], *layers, terms], 1)


def weighted(distances: Tensor, weights: Tensor | None) -> Tensor:
    """Return the terms whose mean is the weighted distance."""
    return distances if weights is None else distances * (weights.to(distances) * len(weights))


def root(figures: Tensor, power: int) -> Tensor:
    """Invert ``power``; negative figures become 0."""
    inverted: Tensor = figures.clamp(min=0).pow(1 / power)
    return inverted
