"""What is asked of image sets and DNAs: decided once, before an image is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.dna import DNA, LayerGaussianDNA
from torchmetrics_dna.dna.averaging import Averaging, averaging_of
from torchmetrics_dna.dna.folded import FoldedSides, PlanOfLayers, plan_for, why_not_kept
from torchmetrics_dna.functional.outliers import layers_for_outliers
from torchmetrics_dna.images.noun import noun_of
from torchmetrics_dna.images.numbers import GRID, band_note, number_note
from torchmetrics_dna.images.properties import LAYER, property_note, without_properties
from torchmetrics_dna.jobs.job import MEANS, Job
from torchmetrics_dna.statistics.rows import SpatialMeans

if TYPE_CHECKING:
    from torchmetrics_dna.dna.distances import Distance
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import Images
    from torchmetrics_dna.jobs.arguments import Arguments
    from torchmetrics_dna.jobs.measure import Measured
    from torchmetrics_dna.neurons.index import Neurons


@dataclass(frozen=True, eq=False)
class Plan:
    """Questions to sets that were opened together."""

    arguments: Arguments
    distances: Sequence[Distance]  # distances that all sides support; none if DNAs are made
    neurons: Neurons  # neurons of the distances: those of the network, if properties are compared beside them
    has_properties: bool  # whether properties are compared beside them
    averaging: Averaging  # average of the neurons
    has_causes: bool = False  # whether causes of a difference are searched
    of_layers: Mapping[str, PlanOfLayers] = field(default_factory=dict)  # plans of evidence for fd, by name
    rows: Mapping[str, SpatialMeans] = field(default_factory=dict)  # what single images leave
    limits: Sequence[str] = ()  # what was not asked of single images, one line each, for Comparison


def make_plan(
    arguments: Arguments, distances: Sequence[Distance], sides: Sequence[Images | DNA], network: DNA | DNAExtractor
) -> Plan:
    """Decide what is asked of sides by distances of the neurons of a network, or of a DNA.

    Of single images, ``"features"`` are what distances and evidence take; DNAs are taken as exact. ``"means"`` say
    whether a few images are off: of independent images on both sides, as the test of whether they differ is, and by
    all neurons.
    """
    averaging = averaging_of(network, **arguments.averaging)
    of_network = without_properties(network.neurons) if averaging.is_plain else None
    plan = Plan(arguments, distances, of_network or network.neurons, of_network is not None, averaging)
    images = [side for side in sides if not isinstance(side, DNA)]
    if not distances or not images:
        return plan
    neurons = plan.neurons
    counts = [side.count for side in images]
    # Tests need images on both sides, since a DNA is taken as exact.
    are_images = len(images) > 1 and not isinstance(sides[0], DNA)
    by_fold = bool(arguments.pairs) or arguments.groups is not None
    noun = noun_of(network)
    layers: set[str] = set()
    of_layers: dict[str, PlanOfLayers] = {}
    for record in distances:
        if not record.kinds:
            layers.add(record.layer or list(neurons)[-1])
        if record.by_image and arguments.num_folds is not None:
            watched = neurons if record.layer is None else neurons.take(neurons.positions([record.layer]))
            of_record = plan_for(watched, counts, tested=are_images, by_fold=by_fold, name=record.name, noun=noun)
            if of_record.tested or of_record.debiased:
                layers.update(of_record.neurons)
            of_layers[record.name] = of_record
    rows = {"features": SpatialMeans(neurons, sorted(layers))} if layers else {}
    has_causes = arguments.causes and arguments.on is None and len(images) == len(sides) == 2 and LAYER not in neurons
    has_causes &= any(record.name == "dna-emd" for record in distances) and not averaging.why_noisy
    plan = replace(plan, has_causes=has_causes, of_layers=of_layers, rows=rows)
    if not are_images or arguments.pairs or arguments.num_folds is None or not averaging.is_plain:
        return plan
    if not any(record.grain == "neuron" and record.protocol is None for record in distances):
        return plan
    means = SpatialMeans(neurons, layers_for_outliers(neurons))
    reason = f"{noun}s of a group are not independent samples. To find outliers, rank one {noun} per group"
    if arguments.groups is None:
        reason = why_not_kept(means.neurons, counts, "rank some of them", noun)
    if reason:
        return replace(plan, limits=[f"The {noun}s were not tested for a small number of outliers, since {reason}"])
    return replace(plan, rows={**rows, MEANS: means})


def noting_properties(job: Job) -> Job:
    """Return a job that keeps the properties of single images, if there are any, or the numbers of other inputs."""
    neurons = job.extractor.neurons
    example = job.extractor.example
    if example is not None:
        # Columns of embeddings have no order, so they have no grid.
        axes = 0 if example.noun == "row" else GRID
        return replace(job, notes=[*job.notes, partial(number_note, axes=axes)])
    if LAYER in neurons:
        return replace(job, statistics={**job.statistics, LAYER: SpatialMeans(neurons, [LAYER])})
    return replace(job, notes=[*job.notes, property_note]) if job.extractor.may_have_properties else job


def keeping_sample(job: Job) -> Job:
    """Return a job whose DNA of layers gets a sample of single images, which outlier scores compare with."""
    if LayerGaussianDNA.kind not in job.statistics:
        return job
    neurons = job.extractor.neurons
    job = replace(job, statistics={**job.statistics, MEANS: SpatialMeans(neurons, layers_for_outliers(neurons))})
    return job if job.extractor.example is not None else noting_properties(job)


def noting_bands(job: Job) -> Job:
    """Return a job that keeps mean and deviation of each band of single inputs, or of images that are not RGB."""
    example = job.extractor.example
    channels = job.extractor.image_channels
    bands = 0
    if example is not None:
        bands = example.bands
    elif channels not in (1, 3):
        bands = channels
    if not bands:
        return job
    return replace(job, notes=[*job.notes, partial(band_note, bands=bands)])


def folded_sides(record: Distance, a: Measured, b: Measured, plan: Plan) -> FoldedSides | None:
    """Return both sides in folds for a distance that takes single images of these; None for all other distances."""
    if record.folded is None or (record.kinds and not record.by_image):
        return None
    if not record.by_image:
        return record.folded(a.input_of(record), b.input_of(record), (a.folds, b.folds))
    if record.name not in plan.of_layers or (a.folds is None and b.folds is None):
        return None
    sides: list[Any] = [side.dnas["layer-gaussian"] if side.folds is None else side.features for side in (a, b)]
    # Comparisons by class and of versions keep nothing of single images.
    if any(side is None for side in sides):
        return None
    return record.folded(*sides, (a.folds, b.folds), plan.of_layers[record.name])
