"""fd between unions of folds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from torchmetrics_dna.dna.unions import Unions, numbered_folds
from torchmetrics_dna.functional.unions import layer_frechet_of_unions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from torchmetrics_dna.neurons.index import Neurons

NUM_RELABELINGS = 200  # five times fewer than of other distances, for each takes a decomposition of each layer


@dataclass(frozen=True, eq=False)
class LayerFeatures:
    """Features of single images, of all layers.

    Attributes:
        values: Spatial means, shape ``(images, N)``; of no neurons where the plan has no use for them.
        folds: The fold of each image, int64, shape ``(images,)``.
        neurons: The N neurons, in order.
        plan: What is to be said of fd.

    """

    values: Tensor
    folds: Tensor
    neurons: Neurons
    plan: Plan


@dataclass(frozen=True)
class Plan:
    """What can be said of fd between two sets.

    Attributes:
        tested: Whether it is tested.
        debiased: The layers of which it is debiased.
        limits: What is left out and why, one line each.

    """

    tested: bool
    debiased: tuple[str, ...]
    limits: tuple[str, ...]

    @property
    def anything(self) -> bool:
        """Whether spatial means of images serve for anything."""
        return self.tested or bool(self.debiased)


def layer_frechet_unions(a: LayerFeatures, b: LayerFeatures) -> Unions:
    """For fd, of all images; each column is a layer."""
    neurons, plan = a.neurons, a.plan
    folds, sizes_a, sizes_b = numbered_folds(a.folds, b.folds)
    values = torch.cat([a.values, b.values])

    def distances(in_a: Tensor, in_b: Tensor, layers: Iterable[str] = tuple(neurons)) -> Tensor:
        found = torch.full((len(in_a), len(neurons)), torch.nan, dtype=torch.float64, device=values.device)
        for i, (layer, rows) in enumerate(neurons.slices.items()):
            if layer in layers:
                found[:, i] = layer_frechet_of_unions(values[:, rows], folds, in_a, in_b)
        return found

    def jackknifed(in_a: Tensor, in_b: Tensor) -> Tensor:
        return distances(in_a, in_b, plan.debiased)

    most = NUM_RELABELINGS if plan.tested else 0
    columns = [slice(i, i + 1) for i in range(len(neurons))]
    return Unions(distances, sizes_a, sizes_b, columns, (False, False), jackknifed, most, plan.limits)
