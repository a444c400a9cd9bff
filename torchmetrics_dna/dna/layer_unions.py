"""Fréchet distance of layers, fd, between unions of folds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from torchmetrics_dna.dna.unions import Unions, numbered_folds
from torchmetrics_dna.functional.unions import layer_frechet_of_unions, shift_of_unions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from torchmetrics_dna.dna.features import Features
    from torchmetrics_dna.neurons.index import Neurons

NUM_RELABELINGS = 200  # a fifth of other distances: each takes an eigendecomposition per layer


@dataclass(frozen=True)
class Plan:
    """Plan of the evidence for fd between two sets.

    Attributes:
        neurons: The layers.
        tested: True if fd is tested.
        debiased: Layers whose fd is debiased.
        limits: One line for each part of the evidence that is missing, with the reason.

    """

    neurons: Neurons
    tested: bool
    debiased: tuple[str, ...]
    limits: tuple[str, ...]

    @property
    def needs_features(self) -> bool:
        """True if the plan uses features of images."""
        return self.tested or bool(self.debiased)


def layer_frechet_unions(a: Features | None, b: Features | None, folds: tuple[Tensor, Tensor], plan: Plan) -> Unions:
    """Build unions for fd from the features of all images; each column is a layer.

    Args:
        a: Features of A, of at least the layers of the plan; None if the plan needs none.
        b: Features of B.
        folds: Fold of each image of A and of B, int64.
        plan: Plan of the evidence.

    """
    neurons = plan.neurons
    numbers, sizes_a, sizes_b = numbered_folds(*folds)
    values = torch.zeros(0)
    if a is not None and b is not None and plan.needs_features:
        values = torch.cat([side.select(list(neurons)).values for side in (a, b)])

    def distances(in_a: Tensor, in_b: Tensor, layers: Iterable[str] = tuple(neurons)) -> Tensor:
        columns = torch.full((len(in_a), len(neurons)), torch.nan, dtype=torch.float64, device=values.device)
        for i, (layer, rows) in enumerate(neurons.slices.items()):
            if layer in layers:
                columns[:, i] = layer_frechet_of_unions(values[:, rows], numbers, in_a, in_b)
        return columns

    def jackknifed(in_a: Tensor, in_b: Tensor) -> Tensor:
        return distances(in_a, in_b, plan.debiased)

    def shifts(in_a: Tensor, in_b: Tensor) -> Tensor:
        sizes = torch.cat([sizes_a, sizes_b])
        sums = torch.zeros(len(sizes), values.shape[1], dtype=torch.float64, device=values.device)
        sums.index_add_(0, numbers.to(values.device), values.double())
        return shift_of_unions(sums, sizes[:, None], in_a, in_b)

    most = NUM_RELABELINGS if plan.tested else 0
    layers = [slice(i, i + 1) for i in range(len(neurons))]
    return Unions(
        distances, sizes_a, sizes_b, layers, (False, False), jackknifed, most, plan.limits, shifts,
        [*neurons.slices.values()],
    )  # fmt: skip
