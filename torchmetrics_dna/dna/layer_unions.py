"""Fréchet distance of layers, fd, between unions of folds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from torchmetrics_dna.dna.features import Features
from torchmetrics_dna.dna.layer_gaussian import LayerGaussianDNA
from torchmetrics_dna.dna.unions import Noise, Unions, numbered_folds
from torchmetrics_dna.functional.layer_frechet_estimate import layer_frechet_estimate
from torchmetrics_dna.functional.unions import layer_frechet_of_unions, shift_of_unions

if TYPE_CHECKING:
    from torch import Tensor

    from torchmetrics_dna.dna.unions import Folds
    from torchmetrics_dna.neurons.index import Neurons

    Side = Features | LayerGaussianDNA | None

NUM_RELABELINGS = 200  # a fifth of other distances: each takes an eigendecomposition per layer


@dataclass(frozen=True)
class Plan:
    """Plan of the evidence for fd between two sets.

    Attributes:
        neurons: The layers.
        tested: True if fd is tested.
        debiased: Layers whose fd is debiased.
        limits: One line for each part of the evidence that is missing, with the reason.
        by_fold: True if images of a fold belong together, so that folds are the units of the variance, not images.

    """

    neurons: Neurons
    tested: bool
    debiased: tuple[str, ...]
    limits: tuple[str, ...]
    by_fold: bool = False

    @property
    def needs_features(self) -> bool:
        """True if the plan uses features of images."""
        return self.tested or bool(self.debiased)


def layer_frechet_unions(a: Side, b: Side, folds: Folds, plan: Plan) -> Unions:
    """Build unions for fd from the features of all images; each column is a layer.

    Args:
        a: Features of A, of at least the layers of the plan, or None if the plan needs none; or a DNA that is taken as
            exact, such as published statistics.
        b: B likewise.
        folds: Fold of each image of A and of B, int64; None for a side that is taken as exact.
        plan: Plan of the evidence.

    """
    neurons = plan.neurons
    numbers, sizes_a, sizes_b = numbered_folds(*folds)
    layers = [slice(i, i + 1) for i in range(len(neurons))]

    def values() -> Tensor:
        return torch.cat([side.select(list(neurons)).values for side in (a, b) if isinstance(side, Features)])

    def distances(in_a: Tensor, in_b: Tensor) -> Tensor:
        features = values()
        columns = [layer_frechet_of_unions(features[:, rows], numbers, in_a, in_b) for rows in neurons.slices.values()]
        return torch.stack(columns, 1)

    def shifts(in_a: Tensor, in_b: Tensor) -> Tensor:
        features, sizes = values(), torch.cat([sizes_a, sizes_b])
        sums = torch.zeros(len(sizes), features.shape[1], dtype=torch.float64)
        sums.index_add_(0, numbers, features.double())
        return shift_of_unions(sums, sizes[:, None], in_a, in_b)

    return Unions(
        distances, sizes_a, sizes_b, layers, (folds[0] is None, folds[1] is None), lambda: _noise((a, b), folds, plan),
        NUM_RELABELINGS if plan.tested else 0, plan.limits, shifts, [*neurons.slices.values()],
    )  # fmt: skip


def _noise(sides: tuple[Side, Side], folds: Folds, plan: Plan) -> Noise:
    """Estimate the noise of fd of each layer; NaN for layers that the plan does not debias."""
    layers = list(plan.neurons)
    bias = torch.full((len(layers),), torch.nan, dtype=torch.float64)
    influences = [
        None if of_side is None else bias.new_full((len(of_side), len(layers)), torch.nan) for of_side in folds
    ]
    for i, layer in enumerate(layers):
        if layer in plan.debiased:
            estimate = layer_frechet_estimate(_of_layer(sides[0], layer), _of_layer(sides[1], layer), folds)
            bias[i] = estimate.bias
            for columns, influence in zip(influences, estimate.influences, strict=True):
                if columns is not None and influence is not None:
                    columns[:, i] = influence
    a, b = (_by_unit(*pair, plan.by_fold) for pair in zip(influences, folds, strict=True))
    return Noise(bias, (a, b))


def _of_layer(side: Side, layer: str) -> Tensor | tuple[Tensor, Tensor]:
    """Return the features of a layer, or its mean and covariance."""
    if isinstance(side, LayerGaussianDNA):
        return side.by_layer()[layer]
    assert side is not None
    return side.select([layer]).values


def _by_unit(influences: Tensor | None, folds: Tensor | None, by_fold: bool) -> tuple[Tensor, Tensor] | None:
    """Return the influences of images or folds, and the number of all images divided by those of each of these."""
    if influences is None or folds is None:
        return None
    if not by_fold:
        return influences, influences.new_full((len(influences),), len(influences))
    _, numbers, sizes = folds.unique(return_inverse=True, return_counts=True)  # type: ignore[no-untyped-call]
    sums = influences.new_zeros(len(sizes), influences.shape[1]).index_add_(0, numbers, influences)
    return sums / sizes[:, None], len(influences) / sizes.double()
