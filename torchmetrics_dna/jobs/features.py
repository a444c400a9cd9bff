"""Features of single images that distances need, and whether a set keeps them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.dna import DNA
from torchmetrics_dna.dna.folded import plan_for, why_not_kept
from torchmetrics_dna.functional.outliers import layers_for_outliers
from torchmetrics_dna.images.properties import LAYER, property_note
from torchmetrics_dna.statistics.rows import SpatialMeans

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torchmetrics_dna.dna.distances import Distance
    from torchmetrics_dna.dna.folded import FoldedSides, Plan
    from torchmetrics_dna.images import Images
    from torchmetrics_dna.jobs.arguments import Arguments
    from torchmetrics_dna.jobs.job import Job
    from torchmetrics_dna.jobs.measure import Measured
    from torchmetrics_dna.neurons.index import Neurons


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


def rows_for(
    arguments: Arguments,
    distances: Sequence[Distance],
    plans: Mapping[str, Plan],
    sides: Sequence[Images | DNA],
    neurons: Neurons,
) -> tuple[dict[str, SpatialMeans], list[str]]:
    """Return the statistics that keep what is taken of single images, and in a line what is not kept and why.

    ``"features"`` is what distances and plans take. ``"means"`` says whether a few images are off: of independent
    images on both sides, as the test of whether they differ is, and by all neurons.
    """
    layers = {record.layer or list(neurons)[-1] for record in distances if not record.kinds}
    for plan in plans.values():
        layers.update(plan.neurons if plan.tested or plan.debiased else ())
    rows = {"features": SpatialMeans(neurons.take(neurons.positions(sorted(layers))))} if layers else {}
    by_neuron = any(record.grain == "neuron" and record.protocol is None for record in distances)
    images = [side for side in sides if not isinstance(side, DNA)]
    plain = not arguments.pairs and arguments.num_folds is not None and arguments.neuron_weights is None
    if not plain or not by_neuron or isinstance(sides[0], DNA) or len(images) < 2:
        return rows, []
    of_means = neurons.take(neurons.positions(layers_for_outliers(neurons)))
    if arguments.groups is not None:
        reason = "images of a group are no independent samples; take one of each, and rank them"
    else:
        reason = why_not_kept(of_means, [side.count for side in images], "rank some of them")
    if reason:
        return rows, [f"Whether a few images are off was not asked, since {reason}"]
    return {**rows, "means": SpatialMeans(of_means)}, []


def noting_properties(job: Job) -> Job:
    """Return a job that keeps the properties of single images, too, by which these are off, if there may be any."""
    neurons = job.extractor.neurons
    if LAYER in neurons:
        statistics = {**job.statistics, LAYER: SpatialMeans(neurons.take(neurons.positions([LAYER])))}
        return replace(job, statistics=statistics)
    return replace(job, notes=[*job.notes, property_note]) if job.extractor.may_have_properties else job


def folded_sides(record: Distance, a: Measured, b: Measured, plan: Plan | None) -> FoldedSides | None:
    """Return both sides in folds for a distance that takes single images of these; None for all other distances."""
    if record.folded is None or (record.kinds and not record.by_image):
        return None
    if not record.by_image:
        return record.folded(a.input_of(record), b.input_of(record), (a.folds, b.folds))
    if plan is None or (a.folds is None and b.folds is None):
        return None
    sides: list[Any] = [side.dnas["layer-gaussian"] if side.folds is None else side.features for side in (a, b)]
    return record.folded(*sides, (a.folds, b.folds), plan)
