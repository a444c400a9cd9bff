"""Evidence that needs values of single images: what is planned, kept and compared for it, within time and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torchmetrics_dna.dna import DNA
from torchmetrics_dna.dna.unions import LAYER_RELABELINGS, Plan
from torchmetrics_dna.functional.layer_frechet_estimate import HALVINGS, TENTHS
from torchmetrics_dna.functional.outliers import layers_for_outliers
from torchmetrics_dna.functional.permutation import UNEQUAL
from torchmetrics_dna.statistics.rows import SpatialMeans

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torchmetrics_dna.dna.distance import Distance
    from torchmetrics_dna.dna.unions import Unions
    from torchmetrics_dna.images import Images
    from torchmetrics_dna.jobs.arguments import Arguments
    from torchmetrics_dna.jobs.measure import Measured
    from torchmetrics_dna.neurons.index import Neurons

_IMAGES = 3  # of a side per neuron of a layer; with fewer, intervals cover too little
_SECONDS = 5e-10  # of one core per unit of work, which is the sum over layers of the cube of the matrix size
_DISTANCES = 1 + TENTHS + 2 * HALVINGS + 2 * 4  # of an estimate; eigenvectors of two matrices take four times as long
_LONGEST_TEST, _LONGEST_ESTIMATE = 10, 120  # seconds; an estimate is of thousands of images, which take longer
_BYTES = 1 << 30  # of spatial means of both sides


def plans_for(
    distances: Sequence[Distance], sides: Sequence[Images | DNA], neurons: Neurons, *, by_fold: bool
) -> dict[str, Plan]:
    """Plan the evidence of distances whose evidence needs single images, by name; DNAs are taken as exact."""
    sizes = [side.count for side in sides if not isinstance(side, DNA)]
    tested = not isinstance(sides[0], DNA) and len(sizes) > 1
    return {
        record.name: plan_for(
            neurons if record.layer is None else neurons.take(neurons.positions([record.layer])),
            sizes,
            tested=tested,
            by_fold=by_fold,
            name=record.name,
        )
        for record in distances
    }


def features_for(distances: Sequence[Distance], plans: Mapping[str, Plan], neurons: Neurons) -> dict[str, SpatialMeans]:
    """Return the per-image statistics of distances: features of their or the last layer, and of those of plans."""
    layers = {record.layer or list(neurons)[-1] for record in distances if not record.kinds}
    for plan in plans.values():
        layers.update(plan.neurons if plan.tested or plan.debiased else ())
    return {"features": SpatialMeans(neurons.take(neurons.positions(sorted(layers))))} if layers else {}


def means_for(
    arguments: Arguments, distances: Sequence[Distance], sides: Sequence[Images | DNA], neurons: Neurons
) -> tuple[dict[str, SpatialMeans], list[str]]:
    """Return the per-image statistic that says whether a few images are off, or in a line why it is not kept.

    It is asked of independent images on both sides, as the test of whether they differ is, and by all neurons.
    """
    by_neuron = any(record.grain == "neuron" and record.protocol is None for record in distances)
    images = [side for side in sides if not isinstance(side, DNA)]
    plain = not arguments.pairs and arguments.num_folds is not None and arguments.neuron_weights is None
    if not plain or not by_neuron or isinstance(sides[0], DNA) or len(images) < 2:
        return {}, []
    layers = layers_for_outliers(neurons)
    statistic = SpatialMeans(neurons.take(neurons.positions(layers)))
    sizes = [side.count for side in images]
    known_sizes = [size for size in sizes if size is not None]
    reason = ""
    if arguments.groups is not None:
        reason = "images of a group are no independent samples; take one of each, and rank them"
    elif len(known_sizes) < len(sizes):
        reason = "a stream does not say how long it is"
    elif 4 * statistic.neurons.total * sum(known_sizes) > _BYTES:
        reason = (
            f"that keeps {statistic.neurons.total:,} numbers of each of {sum(known_sizes):,} images; rank some of them"
        )
    if reason:
        return {}, [f"Whether a few images are off was not asked, since {reason}"]
    return {"means": statistic}, []


def unions_of(record: Distance, a: Measured, b: Measured, plan: Plan | None) -> Unions | None:
    """Return the unions of folds for a distance whose evidence needs values of single images, else None."""
    if record.unions is None or (record.kinds and not record.by_image):
        return None
    if not record.by_image:
        return record.unions(a.input_of(record), b.input_of(record), (a.folds, b.folds))
    if plan is None or (a.folds is None and b.folds is None):
        return None
    sides: list[Any] = [side.dnas["layer-gaussian"] if side.folds is None else side.features for side in (a, b)]
    return record.unions(*sides, (a.folds, b.folds), plan)


def plan_for(
    neurons: Neurons, num_images: Sequence[int | None], *, tested: bool = True, by_fold: bool = False, name: str = "fd"
) -> Plan:
    """Plan fd of some layers between two sets.

    Args:
        neurons: The layers.
        num_images: Numbers of images of the sides that are not taken as exact; None for a stream of unknown length.
        tested: False if a side is taken as exact, so that there is no test.
        by_fold: True if images of a fold belong together.
        name: Name of the distance, for the reasons.

    """
    sizes = [size for size in num_images if size is not None]
    reason = ""
    if len(sizes) < len(num_images):
        reason = "a stream does not say how long it is"
    elif 4 * neurons.total * sum(sizes) > _BYTES:
        reason = f"that keeps {neurons.total:,} numbers of each of {sum(sizes):,} images; watch fewer layers"
    if reason:
        return Plan(neurons, False, (), (f"{name} has no test and no value without noise here, since {reason}",))
    few = min(sizes)
    limits = _limits_of_test(neurons, few, max(sizes), name) if tested else []
    has_test = tested and not limits
    debiased = [layer for layer, width in neurons.items() if few >= _IMAGES * width]
    lacking = [layer for layer in neurons if layer not in debiased]
    if lacking:
        scope = f"of {_named(lacking)} and of the whole" if debiased else "here"
        limits.append(
            f"{name} has no value without noise and no interval {scope}: that takes {_IMAGES} images a side for each"
            f" neuron, {_IMAGES * max(neurons[layer] for layer in lacking):,} for the widest, but there are {few:,}"
        )
    seconds = _DISTANCES * _SECONDS * sum(neurons[layer] ** 3 for layer in debiased)
    if seconds > _LONGEST_ESTIMATE:
        reason = f"that would take about {seconds:.0f} s"
        limits.append(f"{name} has no value without noise here, since {reason}; watch fewer or narrower layers")
        debiased = []
    return Plan(neurons, has_test, tuple(debiased), tuple(limits), by_fold)


def _limits_of_test(neurons: Neurons, few: int, many: int, name: str) -> list[str]:
    """Return why sets of ``few`` and ``many`` images have no test, in one line; an empty list if they have one."""
    if many > UNEQUAL * few:  # with 50 and 100 images the test rejects a true null hypothesis too often
        why = f"a test of {few:,} and {many:,} images finds too much"
        return [
            f"{name} has no test here, since {why}; give sets of which one is at most half as large again, or test"
            " dna-emd"
        ]
    seconds = _seconds_of_test(neurons, few)
    if seconds <= _LONGEST_TEST:
        return []
    sizes = range(min(few, max(neurons.values())), 0, -1)
    most = next(n for n in sizes if _seconds_of_test(neurons, n) <= _LONGEST_TEST)
    reason = f"that would take about {seconds:.0f} s"
    return [
        f"{name} has no test here, since {reason}; test dna-emd, watch fewer layers, or give at most {most:,} images a"
        " side"
    ]


def _seconds_of_test(neurons: Neurons, num_images: int) -> float:
    """Estimate the seconds of a test; matrices have the smaller of a layer's width and the number of images as size."""
    return LAYER_RELABELINGS * _SECONDS * sum(min(width, num_images) ** 3 for width in neurons.values())


def _named(layers: Sequence[str]) -> str:
    return ", ".join(layers) if len(layers) <= 3 else f"{len(layers)} layers"
