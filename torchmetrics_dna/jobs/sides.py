"""Open image sets and DNAs, and prepare to measure them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from torchmetrics_dna.binning.histogram import check_num_bins
from torchmetrics_dna.dna import DNA
from torchmetrics_dna.dna.distances import Distance, Kind, kinds_for, resolve_distances
from torchmetrics_dna.dna.evidence import check_confidence
from torchmetrics_dna.dna.fid_statistics import is_unnamed, named
from torchmetrics_dna.dna.load import is_dna_path, load_dna
from torchmetrics_dna.extractors import DNAExtractor
from torchmetrics_dna.files.visible import images_in_words
from torchmetrics_dna.functional.features import too_few
from torchmetrics_dna.functional.permutation import LEAST_FOLDS, NUM_FOLDS
from torchmetrics_dna.images import Images, ImageSource, Reading, Source, open_source
from torchmetrics_dna.images.inputs import ROWS, Example
from torchmetrics_dna.images.noun import is_identity, noun_of
from torchmetrics_dna.images.sets import are_same, check_channels
from torchmetrics_dna.images.sources import check_used
from torchmetrics_dna.jobs.groups import Groups, Pairs, folds_of_pairs, group_names, grouping, keys_of_pairs
from torchmetrics_dna.jobs.job import MEANS, Job
from torchmetrics_dna.jobs.measure import Measured, measure
from torchmetrics_dna.jobs.on_ray import check_on_ray
from torchmetrics_dna.jobs.plan import Plan, make_plan, noting_bands, noting_properties
from torchmetrics_dna.options import argument, written
from torchmetrics_dna.statistics.base import check_num_folds
from torchmetrics_dna.statistics.folds import group_folds
from torchmetrics_dna.statistics.setup import Setup, check_of_dnas, given_arguments, set_up

if TYPE_CHECKING:
    from torchmetrics_dna.jobs.arguments import Arguments
    from torchmetrics_dna.statistics import Statistic


@dataclass(frozen=True, eq=False)
class Sides:
    """Image sets and DNAs that were opened and checked together.

    A set is measured when its values are needed for the first time.

    Attributes:
        plan: Plan of what is measured and tested.
        images: The sides: image sets, and DNAs with the layers and ranges of the jobs.
        jobs: One job for each side; empty if DNAs are compared with DNAs. If there are no sides, there is a single job,
            which measures nothing.
        keys: One key for each side. Sides that are the same images in the same groups have equal keys.

    """

    plan: Plan
    images: Sequence[Images | DNA]
    jobs: Sequence[Job]
    keys: Sequence[object]
    # Values measured so far, by key. They are kept if there are two sides, or if several sides have this key.
    _measured: dict[object, Measured] = field(default_factory=dict)

    @property
    def extractor(self) -> DNAExtractor:
        """Network that all images are measured by."""
        return self.jobs[0].extractor

    @property
    def job(self) -> Job:
        """Job that makes the DNAs of images and keeps no values of single images."""
        job = self.jobs[0]
        dnas = {name: statistic for name, statistic in job.statistics.items() if not statistic.by_image}
        return replace(job, statistics=dnas, groups=None, folds=None, notes=())

    def check_enough(self, record: Distance) -> None:
        """Check that all sides have enough images for a distance. Sides of unknown size are not checked.

        Raises:
            TooFewImagesError: If a side has fewer images than the distance requires.

        """
        known_sizes: list[int] = []
        for side in self.images:
            if isinstance(side, DNA):
                if not side.has_unknown_size:
                    known_sizes.append(side.num_images)
            elif side.count is not None:
                known_sizes.append(side.count)
        if known_sizes and min(known_sizes) < record.least:
            raise too_few(record.name, record.least, known_sizes)

    def evidence_for(self, record: Distance, k: int) -> tuple[bool, bool]:
        """Return whether a distance between the first side and side ``k`` can have a test and an interval.

        Args:
            record: The distance.
            k: Number of the second side.

        Returns:
            Whether there can be a test, and whether there can be a confidence interval.

        """
        if record.folded is None:
            return False, False
        folds_of_both_sides = [self._most_folds(0), self._most_folds(k)]
        known_folds = [num_folds for num_folds in folds_of_both_sides if num_folds is not None]
        if not known_folds or min(known_folds) < LEAST_FOLDS:
            return False, False
        have_both_folds = len(known_folds) == 2
        fd_plan = self.plan.fd_plans.get(record.name)
        if fd_plan is None:
            return have_both_folds, True
        all_layers_are_debiased = set(fd_plan.debiased) == set(fd_plan.neurons)
        return have_both_folds and fd_plan.tested, all_layers_are_debiased

    def _most_folds(self, k: int) -> int | None:
        """Return the largest number of folds with images that a side can have; None for a side without folds."""
        side = self.images[k]
        if isinstance(side, DNA):
            if not side.folds:
                return None
            return sum(fold.num_images > 0 for fold in side.folds)
        num_folds = self.jobs[k].num_folds
        groups = self.jobs[k].groups
        if num_folds is None:
            return None
        if groups is not None and isinstance(side, ImageSource):
            folds = group_folds(group_names(side, groups), num_folds)
            return len(set(folds.tolist()))
        if side.count is None:
            return num_folds
        return min(num_folds, side.count)

    def source(self, k: int, what: str) -> Images:
        """Return the images of side ``k``.

        Args:
            k: Number of the side.
            what: Subject of the error message: the result that needs the images, such as "A report".

        Raises:
            ValueError: If the side is a DNA.

        """
        side = self.images[k]
        if isinstance(side, DNA):
            noun = noun_of(side)
            raise ValueError(f"{what} needs {noun}s, but got a DNA of {images_in_words(side.num_images, noun)}")
        return side

    def measured(self, k: int) -> Measured:
        """Return the measured values of side ``k``. A side that was measured before is not measured again.

        The only value of a DNA is the DNA itself.
        """
        side = self.images[k]
        key = self.keys[k]
        arguments = self.plan.arguments
        if isinstance(side, DNA):
            return Measured({side.kind: side}, [])
        if key in self._measured:
            return self._measured[key]
        if arguments.pairs and self.jobs[k].reading.skip_unreadable:
            # An image that can't be read is left out together with its partner, so all sides are measured at once.
            self._measured.update(self._measured_pairs(arguments.pairs))
            return self._measured[key]
        result = self._measure(self.jobs[k], side)
        # The values of many sides would fill the memory, so values that are needed only once are not kept.
        is_needed_again = len(self.images) == 2 or self.keys.count(key) > 1
        if is_needed_again:
            self._measured[key] = result
        return result

    def _measured_pairs(self, pairs: Pairs) -> dict[object, Measured]:
        """Measure all sides as pairs, and return the values by key.

        If images can't be read, the other sides are measured again without their partners.

        Raises:
            ValueError: If no pair could be read on all sides.

        """
        # Images and job of each distinct side.
        sides: dict[object, tuple[ImageSource, Job]] = {}
        for key, images, job in zip(self.keys, self.images, self.jobs, strict=True):
            if isinstance(images, ImageSource):
                sides[key] = (images, job)
        measured = {key: self._measure(job, images) for key, (images, job) in sides.items()}
        # For each side, the pair that each image belongs to.
        pairs_of_images = {key: keys_of_pairs(images, pairs) for key, (images, _) in sides.items()}
        readable_pairs: list[set[object]] = []
        for key, side in measured.items():
            readable_pairs.append({pairs_of_images[key][number] for number in side.numbers})
        # Pairs of which all images could be read.
        whole_pairs = set.intersection(*readable_pairs)
        if not whole_pairs:
            lines = [line for side in measured.values() for line in side.unreadable]
            raise ValueError(f"No pair could be read on both sides; the first that could not: {lines[0]}")
        for key, (images, job) in sides.items():
            numbers = [number for number, pair in enumerate(pairs_of_images[key]) if pair in whole_pairs]
            measured[key] = self._with_whole_pairs(measured[key], images, job, numbers)
        return measured

    def _measure(self, job: Job, images: Images) -> Measured:
        """Run images through a job, on the processes or the cluster of the arguments."""
        arguments = self.plan.arguments
        return measure(job, images, distributed=arguments.distributed, on=arguments.on)

    def _with_whole_pairs(self, measured: Measured, images: ImageSource, job: Job, numbers: list[int]) -> Measured:
        """Measure a side again, if it has images whose partner can't be read.

        Args:
            measured: Measured values of all readable images.
            images: The side.
            job: Job of the side.
            numbers: Indices of the images whose partners can all be read.

        Returns:
            The values of the images of ``numbers``.

        """
        without_partner = sorted(set(measured.numbers) - set(numbers))
        if not without_partner or job.folds is None:
            return measured
        job_of_whole_pairs = replace(job, folds=[job.folds[number] for number in numbers])
        again = self._measure(job_of_whole_pairs, images.take(numbers))
        noun = noun_of(self.extractor)
        lines = [f"Can't use {noun} {images.names[number]!r}: its partner can't be read" for number in without_partner]
        return replace(again, unreadable=measured.unreadable + lines, numbers=numbers)


def open_sides(
    sides: Sequence[Source | DNA],
    arguments: Arguments,
    kinds: Sequence[Kind] | None = None,
    *,
    with_properties: bool = False,
) -> Sides:
    """Open all sides, and prepare to measure them.

    Errors of all sides are raised before the first side is measured.

    Args:
        sides: Images, DNAs, and paths of images or DNAs.
        arguments: The arguments.
        kinds: Kinds of DNA to make from images, perhaps none. If None, these are the kinds that the metrics need.
        with_properties: Whether to measure image properties, too. This is ignored if the feature decides about
            properties, a side is a DNA, neuron weights are given, or no distance compares neurons.

    """
    if kinds is None:
        # This finds unknown names before a side is opened.
        resolve_distances(arguments.metrics, [])
    return plan_sides(open_each(sides, arguments), arguments, kinds, with_properties=with_properties)


def plan_sides(
    opened: Sequence[Images | DNA],
    arguments: Arguments,
    kinds: Sequence[Kind] | None = None,
    *,
    with_properties: bool = False,
) -> Sides:
    """Prepare to measure opened sides. The same sides can be prepared for several networks, one after another.

    Args:
        opened: Sides, from :func:`open_each`.
        arguments: The arguments, with one network.
        kinds: Kinds of DNA to make from images, see :func:`open_sides`.
        with_properties: Whether to measure image properties, too, see :func:`open_sides`.

    """
    if arguments.num_folds is None:
        opened = [_without_folds(side) for side in opened]
    dnas = [side for side in opened if isinstance(side, DNA)]
    images = [side for side in opened if not isinstance(side, DNA)]
    # If kinds are given for DNAs alone, images are opened later, and these options are for them.
    if kinds is None or images:
        check_used(arguments.reading or Reading(), *images)
    if arguments.on is not None:
        for source in images:
            check_on_ray(arguments.on, source)
    folding = _fold(opened, arguments)
    distances: tuple[Distance, ...] = ()
    if kinds is None:
        distances = resolve_distances(arguments.metrics, dnas)
        if not images:
            return _plan_dnas(dnas, arguments, distances)
        kinds = kinds_for(distances)
    sides = _plan_jobs(opened, arguments, folding, distances, kinds, with_properties=with_properties)
    if distances:
        sides.check_enough(distances[0])
    return sides


def _plan_jobs(
    opened: Sequence[Images | DNA],
    arguments: Arguments,
    folding: _Folding,
    distances: Sequence[Distance],
    kinds: Sequence[Kind],
    *,
    with_properties: bool,
) -> Sides:
    """Build the extractor, and prepare the job of each side.

    Args:
        opened: The opened sides. If there are none, images are opened later.
        arguments: The arguments, with one network.
        folding: Assignment of the images to folds.
        distances: Distances that all sides support; empty if only DNAs are made.
        kinds: Kinds of DNA to make from images.
        with_properties: Whether to measure image properties, too, see :func:`open_sides`.

    """
    setup = _set_up(opened, arguments, distances, kinds, with_properties=with_properties)
    for side in opened:
        if not isinstance(side, DNA):
            check_channels(side, setup.extractor.image_channels)
    plan = make_plan(arguments, distances, opened, setup.extractor)
    are_two_image_sets = len(opened) == 2 and not setup.dnas
    job = _job(plan, setup, kinds, folding.num_folds, with_bands=with_properties and are_two_image_sets)
    jobs = []
    keys = []
    for side, groups, folds in zip(opened, folding.groups, folding.folds, strict=True):
        jobs.append(replace(job, groups=groups, folds=folds))
        keys.append((id(side), id(groups)))
    # The DNAs of the set-up have the layers and ranges of the job.
    fitted_dnas = iter(setup.dnas)
    fitted = [next(fitted_dnas) if isinstance(side, DNA) else side for side in opened]
    return Sides(plan, fitted, jobs or [job], keys)


def _without_folds(side: Images | DNA) -> Images | DNA:
    """Return a DNA without the folds of its file, so that no test uses them; images are returned unchanged."""
    if isinstance(side, DNA) and side.folds:
        return replace(side, folds=())
    return side


def _plan_dnas(dnas: Sequence[DNA], arguments: Arguments, distances: Sequence[Distance]) -> Sides:
    """Prepare to compare DNAs with DNAs, for which nothing is measured."""
    check_of_dnas(dnas, arguments.feature, arguments.num_bins)
    if arguments.groups is not None:
        raise ValueError(f"{argument('groups')} is for images, but only DNAs are given")
    plan = make_plan(arguments, distances, dnas, dnas[0])
    return Sides(plan, dnas, jobs=[], keys=range(len(dnas)))


def _job(plan: Plan, setup: Setup, kinds: Sequence[Kind], num_folds: int | None, *, with_bands: bool) -> Job:
    """Make the job that measures the DNAs and the values of single images of a plan.

    Args:
        plan: The plan.
        setup: The extractor, and the bins and ranges of the statistics.
        kinds: Kinds of DNA to make.
        num_folds: Number of folds of images; None for none.
        with_bands: Whether to keep values of the bands of images that are not RGB, if the plan supports them.

    """
    statistics: dict[str, Statistic] = {kind: setup.statistic(kind, num_folds) for kind in kinds}
    job = Job(setup.extractor, {**statistics, **plan.rows}, plan.arguments.reading or Reading(), num_folds)
    if MEANS in plan.rows:
        job = noting_properties(job)
    if with_bands and plan.averaging.is_plain and num_folds:
        job = noting_bands(job)
    return job


def check_arguments(arguments: Arguments) -> None:
    """Check the arguments before a source is opened.

    Raises:
        ValueError: If an argument is wrong for all sources, or two arguments exclude each other.

    """
    check_confidence(arguments.confidence)
    if arguments.num_bins is not None:
        check_num_bins(arguments.num_bins)
    if arguments.num_folds is not None:
        check_num_folds(arguments.num_folds)
    has_folds = arguments.num_folds is not None
    has_groups = arguments.groups is not None
    if arguments.pairs and not has_folds:
        raise ValueError(
            f"{argument('pairs')} can't be combined with {written('num_folds', None)}, since pairs make the folds"
        )
    if arguments.pairs and has_groups:
        raise ValueError(f"{argument('pairs')} can't be combined with {written('groups')}, since pairs make the folds")
    if has_groups and not has_folds:
        raise ValueError(f"{argument('groups')} needs {written('num_folds')}, since it decides what shares a fold")


class _Folding(NamedTuple):
    """Assignment of the images of all sides to folds.

    Attributes:
        num_folds: Number of folds, or None for no folds.
        groups: Groups of images that share a fold, for each side; None for a side without groups.
        folds: Fold of each image, for each side, if the sides are pairs; otherwise None for each side.

    """

    num_folds: int | None
    groups: Sequence[Groups | None]
    folds: Sequence[Sequence[int] | None]


def _fold(opened: Sequence[Images | DNA], arguments: Arguments) -> _Folding:
    """Decide which images of each side share a fold.

    Raises:
        ValueError: If the number of folds, the groups or the pairs do not fit the images.

    """
    num_folds = arguments.num_folds
    none_per_side = [None] * len(opened)
    if num_folds is None:
        return _Folding(None, none_per_side, none_per_side)
    _check_not_too_many(num_folds, opened)
    if arguments.pairs:
        folds, num_folds = folds_of_pairs(opened, arguments.pairs, num_folds)
        return _Folding(num_folds, none_per_side, folds)
    groups = _groups_of_sides(arguments.groups, len(opened))
    for side, groups_of_side in zip(opened, groups, strict=True):
        if not isinstance(side, DNA):
            # This checks that the groups fit the images.
            grouping(side, groups_of_side)
    return _Folding(num_folds, groups, none_per_side)


def _check_not_too_many(num_folds: int, opened: Sequence[Images | DNA]) -> None:
    """Raise ValueError if there are more folds than images in the largest set, unless the number is the default."""
    counts: list[int] = []
    for side in opened:
        if isinstance(side, DNA) or not side.count:
            # The number of images is unknown, so no number of folds is too large.
            return
        counts.append(side.count)
    most = max([NUM_FOLDS, *counts])
    if num_folds > most:
        raise ValueError(
            f"{argument('num_folds')} expected to be at most {most} for sets of {max(counts)} or fewer, but got"
            f" {num_folds}"
        )


def _groups_of_sides(groups: Any, count: int) -> Sequence[Groups | None]:
    """Return the groups of each side.

    Args:
        groups: Groups of all sides, or a tuple with the groups of each side.
        count: Number of sides.

    Raises:
        ValueError: If there are several sides, and the groups are a sequence but no such tuple.

    """
    if groups is None or isinstance(groups, str) or callable(groups) or count == 1:
        return [groups] * count
    if not isinstance(groups, tuple) or len(groups) != count:
        raise ValueError(
            f"Argument `groups` expected to be a tuple of {count} sequences, one for each side, but got another"
        )
    return groups


def _set_up(
    opened: Sequence[Images | DNA],
    arguments: Arguments,
    distances: Sequence[Distance],
    kinds: Sequence[Kind],
    *,
    with_properties: bool,
) -> Setup:
    """Build the extractor, and decide on the bins and ranges of all sides."""
    dnas = [side for side in opened if isinstance(side, DNA)]
    feature = arguments.feature
    if example_of(arguments, dnas) is ROWS:
        feature = _extractor_of_rows(arguments, opened)
    # DNAs do not contain the properties, and neuron weights do not cover them.
    can_have_properties = with_properties and not dnas and not arguments.averaging
    compares_neurons = any(record.granularity == "neuron" for record in distances)
    return set_up(
        feature,
        arguments.layers,
        arguments.num_bins,
        arguments.ranges,
        dnas,
        histograms="histogram" in kinds,
        to_gpu=True,
        with_properties=can_have_properties and compares_neurons,
    )


def example_of(arguments: Arguments, dnas: Sequence[DNA] = ()) -> Example | None:
    """Return an example of the inputs that the extractor takes instead of images; None if it takes images.

    The extractor is the given one, or else that of the DNAs.
    """
    name = given_arguments(arguments.feature).get("feature")
    if isinstance(name, DNAExtractor):
        return name.example
    names = [dna.extractor for dna in dnas] if name is None else [name]
    return ROWS if any(map(is_identity, names)) else None


def _extractor_of_rows(arguments: Arguments, opened: Sequence[Images | DNA]) -> DNAExtractor:
    """Return the extractor of embeddings, with the number of columns that all sides have.

    Raises:
        ValueError: If the number of columns is unknown, or differs between the sides.

    """
    dnas = [side for side in opened if isinstance(side, DNA)]
    widths = [dna.neurons.total for dna in dnas]
    widths += [len(side.decode(0).pixels) for side in opened if isinstance(side, ImageSource)]
    if not widths:
        raise ValueError(
            "The number of columns of a stream is not known before it is read; pass one of the sets as an array, or"
            " `DNAExtractor('identity:MODEL', inputs='any', example=rows)`"
        )
    for width in widths:
        if width != widths[0]:
            raise ValueError(f"Embeddings have {widths[0]} and {width} columns; pass both of one model")
    options = given_arguments(arguments.feature)
    if dnas:
        options.setdefault("feature", dnas[0].extractor)
    return DNAExtractor(**options, inputs="any", example=torch.zeros(2, widths[0]))


def open_each(sides: Sequence[Source | DNA], arguments: Arguments) -> list[Images | DNA]:
    """Open images or other inputs, and load DNAs with the layers of the arguments.

    A source that is given several times is opened once: its sides are the same object. The arguments are checked before
    a source is opened.

    Args:
        sides: Images, DNAs, and paths of images or DNAs.
        arguments: The arguments.

    Raises:
        TypeError: If a network is given in place of images.
        ValueError: If an argument is wrong, or a side can't be opened.

    """
    check_arguments(arguments)
    _check_no_networks(sides)
    distinct_sources: list[Source | DNA] = []
    # Index of each side in the distinct sources.
    indices: list[int] = []
    for side in sides:
        index = _index_of(side, distinct_sources)
        if index == len(distinct_sources):
            distinct_sources.append(side)
        indices.append(index)
    opened = _opened(distinct_sources, arguments)
    # Two paths may lead to the same images, such as those of a folder with and without a slash at the end.
    without_copies = [_first_equal(side, opened) for side in opened]
    return [without_copies[index] for index in indices]


def _check_no_networks(sides: Sequence[object]) -> None:
    """Raise TypeError if a network is given in place of images."""
    for side in sides:
        if isinstance(side, nn.Module):
            name = type(side).__name__
            raise TypeError(f"Expected sets of images, but got a {name}; a network is the argument `feature`")


def _first_equal(side: Images | DNA, opened: Sequence[Images | DNA]) -> Images | DNA:
    """Return the first of the opened sides that is the same as this side, which is one of them."""
    return next(earlier for earlier in opened if are_same(earlier, side))


def _index_of(side: object, sources: Sequence[object]) -> int:
    """Return the index of a side in the sources. If the side is not among them, return the number of sources."""
    for index, source in enumerate(sources):
        if _is_given_again(source, side):
            return index
    return len(sources)


def _is_given_again(earlier: object, later: object) -> bool:
    """Return whether two sources are the same object, or equal paths."""
    if isinstance(earlier, (str, os.PathLike)) and isinstance(later, (str, os.PathLike)):
        return os.fspath(earlier) == os.fspath(later)
    return earlier is later


def _opened(sources: Sequence[Source | DNA], arguments: Arguments) -> list[Images | DNA]:
    """Open images, and load DNAs with the layers of the arguments."""
    layers = arguments.layers
    values = _with_loaded_dnas(sources, arguments)
    example = example_of(arguments, [value for value in values if isinstance(value, DNA)])
    opened: list[Images | DNA] = []
    for value in values:
        if not isinstance(value, DNA):
            opened.append(open_source(value, arguments.reading, example))
        elif layers is None or is_unnamed(value):
            opened.append(value)
        else:
            opened.append(value.select(layers))
    return _with_names(opened)


def _with_names(opened: list[Images | DNA]) -> list[Images | DNA]:
    """Return the sides, with the names of network and layer in FID statistics, which do not store them.

    The names are those of the first other DNA. Without another DNA, the sides are returned unchanged.
    """
    named_dna = next((side for side in opened if isinstance(side, DNA) and not is_unnamed(side)), None)
    if named_dna is None:
        return opened
    origin = {"extractor": named_dna.extractor, "weights_digest": named_dna.weights_digest}
    return [named(side, named_dna.neurons, **origin) if isinstance(side, DNA) else side for side in opened]


def _with_loaded_dnas(sources: Sequence[Source | DNA], arguments: Arguments) -> list[Source | DNA]:
    """Return the sources, with DNAs in place of the paths of DNA files."""
    ranges = None if arguments.ranges == "auto" else arguments.ranges
    # Unpacking and checksums of DNA files release Python's lock, so threads load them faster.
    with ThreadPoolExecutor() as pool:
        loads = [pool.submit(load_dna, source, ranges) if is_dna_path(source) else None for source in sources]
        return [source if load is None else load.result() for source, load in zip(sources, loads, strict=True)]
