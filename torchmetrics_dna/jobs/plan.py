"""Plan of what is measured and tested, made once, before an image is read."""

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
    """Plan of the measurements and tests of sets that were opened together.

    Attributes:
        arguments: The arguments.
        distances: Distances that all sides support; empty if only DNAs are made.
        neurons: Neurons that the distances compare. They do not include image properties if these are compared
            separately.
        has_properties: Whether image properties are compared separately from the network.
        averaging: Average over the neurons.
        has_causes: Whether to search for a change that explains the difference of two sets.
        fd_plans: Plan of the evidence for each Fréchet distance of layers, by name of the distance.
        rows: Statistics that keep values of single images, by name. ``"features"`` keeps the spatial means that
            distances and their evidence need. ``"means"`` keeps the spatial means that outlier scores need.
        limits: One line for each test of single images that is not made, with the reason.

    """

    arguments: Arguments
    distances: Sequence[Distance]
    neurons: Neurons
    has_properties: bool
    averaging: Averaging
    has_causes: bool = False
    fd_plans: Mapping[str, PlanOfLayers] = field(default_factory=dict)
    rows: Mapping[str, SpatialMeans] = field(default_factory=dict)
    limits: Sequence[str] = ()


def make_plan(
    arguments: Arguments, distances: Sequence[Distance], sides: Sequence[Images | DNA], network: DNA | DNAExtractor
) -> Plan:
    """Plan the measurements and tests of the sides of a comparison.

    Args:
        arguments: The arguments.
        distances: Distances that all sides support.
        sides: The opened sides. DNAs are taken as exact.
        network: The network whose neurons are compared, or a DNA if there are no images.

    """
    plan = _plan_without_rows(arguments, distances, network)
    images = [side for side in sides if not isinstance(side, DNA)]
    if not distances or not images:
        return plan
    noun = noun_of(network)
    # A is the first side. Tests need images in A and in another side, since a DNA is taken as exact.
    have_tests = len(images) > 1 and not isinstance(sides[0], DNA)
    plan = _with_features(plan, images, noun, have_tests=have_tests)
    plan = replace(plan, has_causes=_can_have_causes(plan, images, sides))
    if have_tests and _can_have_outliers(plan):
        plan = _with_outlier_scores(plan, images, noun)
    return plan


def _plan_without_rows(arguments: Arguments, distances: Sequence[Distance], network: DNA | DNAExtractor) -> Plan:
    """Return a plan with the neurons that are compared, in which no values of single images are kept."""
    averaging = averaging_of(network, **arguments.averaging)
    # With neuron weights, image properties are compared like all other neurons.
    network_neurons = without_properties(network.neurons) if averaging.is_plain else None
    if network_neurons is None:
        return Plan(arguments, distances, network.neurons, has_properties=False, averaging=averaging)
    return Plan(arguments, distances, network_neurons, has_properties=True, averaging=averaging)


def _with_features(plan: Plan, images: Sequence[Images], noun: str, *, have_tests: bool) -> Plan:
    """Add the plans for Fréchet distances, and the statistic that keeps the spatial means of the distances."""
    fd_plans = _plans_of_fd(plan, images, noun, have_tests=have_tests)
    layers = _layers_of_features(plan, fd_plans)
    rows = {"features": SpatialMeans(plan.neurons, sorted(layers))} if layers else {}
    return replace(plan, fd_plans=fd_plans, rows=rows)


def _plans_of_fd(plan: Plan, images: Sequence[Images], noun: str, *, have_tests: bool) -> dict[str, PlanOfLayers]:
    """Plan the evidence for Fréchet distances of layers.

    Args:
        plan: The plan so far.
        images: The sides that are images.
        noun: Noun for one input, such as "image".
        have_tests: Whether the distances are tested.

    Returns:
        The plan of each distance, by name. It is empty without folds.

    """
    arguments = plan.arguments
    if arguments.num_folds is None:
        return {}
    counts = [side.count for side in images]
    by_fold = bool(arguments.pairs) or arguments.groups is not None
    plans: dict[str, PlanOfLayers] = {}
    for record in plan.distances:
        if not record.by_image:
            continue
        neurons = plan.neurons
        if record.layer is not None:
            neurons = neurons.take(neurons.positions([record.layer]))
        plans[record.name] = plan_for(neurons, counts, tested=have_tests, by_fold=by_fold, name=record.name, noun=noun)
    return plans


def _layers_of_features(plan: Plan, fd_plans: Mapping[str, PlanOfLayers]) -> set[str]:
    """Return the layers whose spatial means are kept for each image, for distances or their evidence."""
    layers: set[str] = set()
    for record in plan.distances:
        if not record.kinds:
            # This distance compares single images, by its own layer or else the last one.
            layers.add(record.layer or list(plan.neurons)[-1])
        fd_plan = fd_plans.get(record.name)
        if fd_plan is not None and (fd_plan.tested or fd_plan.debiased):
            layers.update(fd_plan.neurons)
    return layers


def _can_have_causes(plan: Plan, images: Sequence[Images], sides: Sequence[Images | DNA]) -> bool:
    """Return whether a change that explains a difference can be searched.

    The search is for two sets of images that are compared by dna-emd.
    """
    arguments = plan.arguments
    if not arguments.causes or arguments.on is not None:
        return False
    if len(images) != 2 or len(sides) != 2:
        return False
    if LAYER in plan.neurons or plan.averaging.why_noisy:
        return False
    return any(record.name == "dna-emd" for record in plan.distances)


def _can_have_outliers(plan: Plan) -> bool:
    """Return whether outlier scores can be computed.

    They need independent images, folds, unweighted neurons and a distance of neurons.
    """
    arguments = plan.arguments
    if arguments.pairs or arguments.num_folds is None or not plan.averaging.is_plain:
        return False
    return any(record.granularity == "neuron" and record.protocol is None for record in plan.distances)


def _with_outlier_scores(plan: Plan, images: Sequence[Images], noun: str) -> Plan:
    """Add the statistic that outlier scores need to a plan, or the reason why there are no scores."""
    means = SpatialMeans(plan.neurons, layers_for_outliers(plan.neurons))
    if plan.arguments.groups is None:
        reason = why_not_kept(means.neurons, [side.count for side in images], "rank some of them", noun)
    else:
        reason = f"{noun}s of a group are not independent samples. To find outliers, rank one {noun} per group"
    if reason:
        limit = f"The {noun}s were not tested for a small number of outliers, since {reason}"
        return replace(plan, limits=[limit])
    return replace(plan, rows={**plan.rows, MEANS: means})


def noting_properties(job: Job) -> Job:
    """Return a job that also keeps the image properties of single images, or statistics of single other inputs."""
    neurons = job.extractor.neurons
    example = job.extractor.example
    if example is not None:
        # Columns of embeddings have no order, so they have no grid.
        axes = 0 if example.noun == "row" else GRID
        return replace(job, notes=[*job.notes, partial(number_note, axes=axes)])
    if LAYER in neurons:
        return replace(job, statistics={**job.statistics, LAYER: SpatialMeans(neurons, [LAYER])})
    if job.extractor.may_have_properties:
        return replace(job, notes=[*job.notes, property_note])
    return job


def keeping_sample(job: Job) -> Job:
    """Return a job that also stores a sample of single images in its DNA of kind layer-gaussian.

    Outlier scores relative to a DNA file need the sample. Other jobs are returned unchanged.
    """
    if LayerGaussianDNA.kind not in job.statistics:
        return job
    neurons = job.extractor.neurons
    job = replace(job, statistics={**job.statistics, MEANS: SpatialMeans(neurons, layers_for_outliers(neurons))})
    if job.extractor.example is not None:
        return job
    return noting_properties(job)


def noting_bands(job: Job) -> Job:
    """Return a job that also keeps the mean and deviation of each band of an input.

    A job for grey or RGB images, or for inputs without bands, is returned unchanged.
    """
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
    """Return both sides in folds, for a distance whose evidence needs values of single images.

    Args:
        record: The distance.
        a: Measured values of A.
        b: Measured values of B.
        plan: The plan.

    Returns:
        The sides in folds. None if the distance is another one, there are no folds, or values of single images were not
        kept.

    """
    if record.folded is None:
        return None
    folds = (a.folds, b.folds)
    if not record.by_image:
        compares_dnas = bool(record.kinds)
        if compares_dnas:
            # The evidence needs only the folds of the DNAs.
            return None
        return record.folded(a.input_of(record), b.input_of(record), folds)
    if record.name not in plan.fd_plans or (a.folds is None and b.folds is None):
        return None
    inputs: list[Any] = []
    for side in (a, b):
        # A side without folds is taken as exact.
        inputs.append(side.dnas["layer-gaussian"] if side.folds is None else side.features)
    # Comparisons by class and of versions keep no values of single images.
    if any(value is None for value in inputs):
        return None
    return record.folded(*inputs, folds, plan.fd_plans[record.name])
