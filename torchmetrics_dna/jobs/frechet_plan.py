"""Plan the evidence for fd: the layers whose noise can be estimated, within limits of time and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torchmetrics_dna.dna.layer_unions import NUM_RELABELINGS, Plan
from torchmetrics_dna.functional.permutation import NUM_FOLDS, UNEQUAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_dna.neurons.index import Neurons

_IMAGES = 2  # of a side per neuron of a layer; with fewer, noise does not yet fall with 1/images
_SECONDS = 5e-10  # of one core per unit of work, which is the sum over layers of the cube of the matrix size
_LONGEST_TEST, _LONGEST_JACKKNIFE = 10, 60  # seconds; a jackknife is of thousands of images, which take longer
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
        reason = f"that keeps {neurons.total:,} numbers of each of {sum(num_images):,} images"
        return Plan(
            neurons, False, (), (f"fd has no test and no value without noise here, since {reason}; watch fewer layers",)
        )
    limits = _limits_of_test(neurons, few, max(num_images))
    has_test = not limits
    debiased = [layer for layer, width in neurons.items() if few >= _IMAGES * width]
    lacking = [layer for layer in neurons if layer not in debiased]
    if lacking:
        scope = f"of {_named(lacking)} and of the whole" if debiased else "here"
        limits.append(
            f"fd has no value without noise {scope}: that takes {_IMAGES} images a side for each neuron of a layer,"
            f" {_IMAGES * max(neurons[layer] for layer in lacking):,} for the widest, but there are {few:,}"
        )
    seconds = (2 * num_folds + 1) * _SECONDS * sum(neurons[layer] ** 3 for layer in debiased)
    if seconds > _LONGEST_JACKKNIFE:
        reason = f"that would take about {seconds:.0f} s"
        limits.append(f"fd has no value without noise here, since {reason}; watch fewer or narrower layers")
        debiased = []
    return Plan(neurons, has_test, tuple(debiased), tuple(limits))


def _limits_of_test(neurons: Neurons, few: int, many: int) -> list[str]:
    """Return why sets of ``few`` and ``many`` images have no test, in one line; an empty list if they have one."""
    if many > UNEQUAL * few:  # with 50 and 100 images the test rejects a true null hypothesis too often
        why = f"a test of {few:,} and {many:,} images finds too much"
        return [
            f"fd has no test here, since {why}; give sets of which one is at most half as large again, or test dna-emd"
        ]
    seconds = _seconds_of_test(neurons, few)
    if seconds <= _LONGEST_TEST:
        return []
    sizes = range(min(few, max(neurons.values())), 0, -1)
    most = next(n for n in sizes if _seconds_of_test(neurons, n) <= _LONGEST_TEST)
    reason = f"that would take about {seconds:.0f} s"
    return [
        f"fd has no test here, since {reason}; test dna-emd, watch fewer layers, or give at most {most:,} images a side"
    ]


def _seconds_of_test(neurons: Neurons, num_images: int) -> float:
    """Estimate the seconds of a test; matrices have the smaller of a layer's width and the number of images as size."""
    return NUM_RELABELINGS * _SECONDS * sum(min(width, num_images) ** 3 for width in neurons.values())


def _named(layers: Sequence[str]) -> str:
    return ", ".join(layers) if len(layers) <= 3 else f"{len(layers)} layers"
