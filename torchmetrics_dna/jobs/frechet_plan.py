"""Plan what can be said of fd: where noise is of a known size, in a bearable time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torchmetrics_dna.dna.layer_unions import NUM_RELABELINGS, Plan
from torchmetrics_dna.functional.permutation import NUM_FOLDS, UNEQUAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_dna.neurons.index import Neurons

_IMAGES = 2  # a side for each neuron of a layer, from which on noise falls with 1/images
_SECONDS = 5e-10  # of a core, for each unit of work: the cubes of the sizes of the matrices of all layers
_LONGEST_TEST, _LONGEST_JACKKNIFE = 10, 60  # seconds; the latter is of thousands of images, which take longer
_BYTES = 1 << 30  # of spatial means of both sides


def plan_for(neurons: Neurons, num_images: Sequence[int], num_folds: int = NUM_FOLDS) -> Plan:
    """Plan fd of some layers between two sets.

    Args:
        neurons: The layers.
        num_images: Numbers of images of both sides.
        num_folds: Number of folds of a side.

    """
    few = min(num_images)
    if 4 * neurons.total * sum(num_images) > _BYTES:
        why = f"that keeps {neurons.total:,} numbers of each of {sum(num_images):,} images"
        return Plan(
            neurons, False, (), (f"fd has no test and no value without noise here, since {why}; watch fewer layers",)
        )
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
    return Plan(neurons, tested, tuple(debiased), tuple(limits))


def _limits_of_test(neurons: Neurons, few: int, many: int) -> list[str]:
    """One line on why sets of ``few`` and ``many`` images have no test; empty if they have one."""
    if many > UNEQUAL * few:  # with 50 and 100 images a test of nothing finds something too often
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
    """Time of a test, in seconds; matrices are as large as the smaller of a layer's width and the number of images."""
    return NUM_RELABELINGS * _SECONDS * sum(min(width, num_images) ** 3 for width in neurons.values())


def _named(layers: Sequence[str]) -> str:
    return ", ".join(layers) if len(layers) <= 3 else f"{len(layers)} layers"
