"""fd between unions of folds, and what can be said of it: where noise is of a known size, in a bearable time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from torchmetrics_dna.dna.evidence import NUM_FOLDS
from torchmetrics_dna.dna.unions import Unions, numbered_folds
from torchmetrics_dna.functional.unions import layer_frechet_of_unions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from torchmetrics_dna.neurons.index import Neurons

_RELABELINGS = 200  # five times fewer than of other distances, for each takes a decomposition of each layer
_UNEQUAL = 1.5  # of two sides' numbers of images; with 50 and 100 a test of nothing finds something too often
_IMAGES = 2  # a side for each neuron of a layer, from which on noise falls with 1/images
_SECONDS = 5e-10  # of a core, for each unit of work: the cubes of the sizes of the matrices of all layers
_LONGEST_TEST, _LONGEST_JACKKNIFE = 10, 60  # seconds; the latter is of thousands of images, which take longer
_BYTES = 1 << 30  # of spatial means of both sides


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


def plan_for(neurons: Neurons, num_images: Sequence[int], num_folds: int = NUM_FOLDS) -> Plan:
    """What can be said of fd of these layers between two sets of so many images.

    Args:
        neurons: The layers.
        num_images: Of both sides.
        num_folds: Of a side.

    """
    few = min(num_images)
    if 4 * neurons.total * sum(num_images) > _BYTES:
        why = f"that keeps {neurons.total:,} numbers of each of {sum(num_images):,} images"
        return Plan(False, (), (f"fd has no test and no value without noise here, since {why}; watch fewer layers",))
    limits = _limits_of_test(neurons, few, max(num_images))
    tested = not limits
    debiased = [layer for layer, width in neurons.items() if few >= _IMAGES * width]
    lacking = [layer for layer in neurons if layer not in debiased]
    if lacking:
        of = f"of {_named(lacking)} and of the whole" if debiased else "here"
        limits.append(
            f"fd has no value without noise {of}: that takes {_IMAGES} images a side for each neuron of a layer,"
            f" {_IMAGES * max(neurons[layer] for layer in lacking):,} for the widest, but there are {few:,}"
        )
    seconds = (2 * num_folds + 1) * _SECONDS * sum(neurons[layer] ** 3 for layer in debiased)
    if seconds > _LONGEST_JACKKNIFE:
        why = f"that would take about {seconds:.0f} s"
        limits.append(f"fd has no value without noise here, since {why}; watch fewer or narrower layers")
        debiased = []
    return Plan(tested, tuple(debiased), tuple(limits))


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

    most = _RELABELINGS if plan.tested else 0
    return Unions(distances, sizes_a, sizes_b, (False, False), jackknifed, most, plan.limits)


def _limits_of_test(neurons: Neurons, few: int, many: int) -> list[str]:
    """Why there is no test, if so, of sets of ``few`` and of ``many`` images."""
    if many > _UNEQUAL * few:
        why = f"a test of {few:,} and {many:,} images finds too much"
        return [
            f"fd has no test here, since {why}; give sets of which one is at most half as large again, or test dna-emd"
        ]
    seconds = _seconds_of_test(neurons, few)
    if seconds <= _LONGEST_TEST:
        return []
    sizes = range(min(few, max(neurons.values())), 0, -1)
    most = next(n for n in sizes if _seconds_of_test(neurons, n) <= _LONGEST_TEST)
    why = f"that would take about {seconds:.0f} s"
    return [
        f"fd has no test here, since {why}; test dna-emd, watch fewer layers, or give at most {most:,} images a side"
    ]


def _seconds_of_test(neurons: Neurons, num_images: int) -> float:
    """With so many images a side; of a layer with more images than neurons, matrices are as large as its width."""
    return _RELABELINGS * _SECONDS * sum(min(width, num_images) ** 3 for width in neurons.values())


def _named(layers: Sequence[str]) -> str:
    return ", ".join(layers) if len(layers) <= 3 else f"{len(layers)} layers"
