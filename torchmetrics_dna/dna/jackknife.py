"""Delete-one-fold jackknife of a distance: its bias from sampling noise, and its variance."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan, nan
from typing import TYPE_CHECKING, TypeGuard

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

    left: float  # debiased distance; negative if smaller than its noise
    variance: float  # of ``left``; NaN where a weight is negative
    freedom: float  # degrees of freedom of the variance
    sides: tuple[Pseudo | None, Pseudo | None]  # of A and B; None for one that is taken as exact; pairs are those of A


@dataclass(frozen=True, eq=False)
class Part:
    """Jackknife of a weighted sum; NaN where a weight is negative.

    Figures are powers of the distance (``power``), on which noise is additive: of the whole, of each layer and of each
    neuron; pseudo-values are of the whole and of layers, shape ``(K, 1 + layers)``.
    """

    weights: Tensor | None  # (N,); None for the plain mean
    left: Tensor  # debiased figures; negative if smaller than their noise
    centre: Tensor  # the same, by the relabelings of a test where these vary less
    upper: Tensor  # figures that the upper ends of intervals are from
    sides: tuple[Pseudo | None, Pseudo | None]  # of A and B; None for a side that is taken as exact

    def jackknife(self, figure: int) -> Jackknife:
        """Return the jackknife of one figure."""
        a, b = (None if side is None else (side[0][:, figure], side[1]) for side in self.sides)
        return Jackknife(float(self.left[figure]), *variance_of([side for side in (a, b) if side is not None]), (a, b))


def jackknifed(values: Tensor, unions: Unions, power: int, weights: Tensor | None) -> Part:
    """Jackknife a weighted sum; all of it is NaN if a weight is negative, since noise then adds on no scale."""
    if has_negative(weights):
        weights = torch.full_like(weights, nan)
    if unions.noise is None:
        bias, sides = _delete_one(unions, power, weights)
    else:
        bias, sides = _known_noise(unions.noise(), unions, weights)
    left = figures_of(values[None], unions.slices, weights)[0].pow(power) - bias
    return Part(weights, left, left, left, sides)


def has_negative(weights: Tensor | None) -> TypeGuard[Tensor]:
    """True if any weight is below 0."""
    return weights is not None and bool((weights < 0).any())


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
