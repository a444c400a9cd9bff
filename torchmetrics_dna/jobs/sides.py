"""Open image sets and DNAs: what all that measures and compares them starts from."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.dna import DNA
from torchmetrics_dna.dna.distances import kinds_for, resolve_distances
from torchmetrics_dna.dna.evidence import check_confidence
from torchmetrics_dna.dna.fid_statistics import is_unnamed, named
from torchmetrics_dna.dna.load import is_dna_path, load_dna
from torchmetrics_dna.dna.neuron_weights import resolve_weights
from torchmetrics_dna.extractors import DNAExtractor
from torchmetrics_dna.files.visible import images_in_words
from torchmetrics_dna.functional.features import too_few
from torchmetrics_dna.functional.permutation import LEAST_FOLDS
from torchmetrics_dna.images import ImageSource, Reading, open_source
from torchmetrics_dna.images.properties import without_properties
from torchmetrics_dna.images.sets import are_same, check_channels
from torchmetrics_dna.images.sources import check_used
from torchmetrics_dna.jobs.features import noting_properties, plans_for, rows_for
from torchmetrics_dna.jobs.groups import folds_of_pairs, group_names, grouping, keys_of_pairs
from torchmetrics_dna.jobs.job import Job
from torchmetrics_dna.jobs.measure import Measured, measure
from torchmetrics_dna.jobs.on_ray import check_on_ray
from torchmetrics_dna.statistics.base import check_num_folds
from torchmetrics_dna.statistics.folds import group_folds
from torchmetrics_dna.statistics.setup import check_of_dnas, set_up

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torchmetrics_dna.dna.distances import Distance, Kind
    from torchmetrics_dna.dna.folded import Plan
    from torchmetrics_dna.images import Images, Source
    from torchmetrics_dna.images.inputs import Example
    from torchmetrics_dna.jobs.arguments import Arguments
    from torchmetrics_dna.jobs.groups import Groups, Pairs

_FEW = 64  # images, for which torch takes less time than loading numba, about a second
_FEW_SIDES = 8  # torch takes a tenth of numba's loading time for one distance of self-ranging DNAs


@dataclass(frozen=True, eq=False)
class Sides:
    """Image sets and DNAs that were opened and checked together; each is measured when it is asked for."""

    arguments: Arguments
    images: Sequence[Images | DNA]  # DNAs have the layers and ranges of the job
    distances: Sequence[Distance]  # that all sides support
    plans: Mapping[str, Plan]  # of evidence for fd, and published fd of a layer, by name
    jobs: Sequence[Job]  # of each side, at least one; empty if all are DNAs to compare
    keys: Sequence[object]  # equal for sides that are the same images, in the same groups
    limits: Sequence[str] = ()  # what was not asked of single images, one line each, for Comparison
    _measured: dict[object, Measured] = field(default_factory=dict)  # of two sides, or of those that occur again

    @property
    def extractor(self) -> DNAExtractor:
        """Extractor of images."""
        return self.jobs[0].extractor

    @property
    def job(self) -> Job:
        """Job that makes the DNAs of images, and keeps nothing else of single ones."""
        job = self.jobs[0]
        dnas = {name: statistic for name, statistic in job.statistics.items() if not statistic.by_image}
        return replace(job, statistics=dnas, groups=None, folds=None, notes=())

    @property
    def is_small(self) -> bool:
        """True if loading numba would take longer than the work."""
        counts = [0 if isinstance(side, DNA) else side.count for side in self.images]
        return len(counts) <= _FEW_SIDES and all(count is not None and count <= _FEW for count in counts)

    def check_enough(self, record: Distance) -> None:
        """Raise TooFewImagesError if a side is known to have fewer images than a distance takes."""
        sizes = [
            (None if side.has_unknown_size else side.num_images) if isinstance(side, DNA) else side.count
            for side in self.images
        ]
        known_sizes = [size for size in sizes if size is not None]
        if known_sizes and min(known_sizes) < record.least:
            raise too_few(record.name, record.least, known_sizes)

    def evidence_for(self, record: Distance, k: int) -> tuple[bool, bool]:
        """Return whether a distance between the first side and side ``k`` can have a test, and an interval."""
        folds = [count for count in map(self._most_folds, (0, k)) if count is not None]
        if record.folded is None or not folds or min(folds) < LEAST_FOLDS:
            return False, False
        plan = self.plans.get(record.name)
        if plan is None:
            return len(folds) == 2, True
        return len(folds) == 2 and plan.tested, {*plan.debiased} == {*plan.neurons}

    def _most_folds(self, k: int) -> int | None:
        """Return the largest number of folds with images that a side can have; None if it is taken as exact."""
        side = self.images[k]
        if isinstance(side, DNA):
            return sum(fold.num_images > 0 for fold in side.folds) if side.folds else None
        num_folds, groups = self.jobs[k].num_folds, self.jobs[k].groups
        if num_folds is None:
            return None
        if groups is not None and isinstance(side, ImageSource):
            return len({*group_folds(group_names(side, groups), num_folds).tolist()})
        return num_folds if side.count is None else min(num_folds, side.count)

    def source(self, k: int, what: str) -> Images:
        """Return the images of side ``k``; ValueError if it is a DNA, with ``what`` needs them, such as "A report"."""
        side = self.images[k]
        if isinstance(side, DNA):
            raise ValueError(f"{what} needs images, but got a DNA of {images_in_words(side.num_images)}; give these")
        return side

    def measured(self, k: int) -> Measured:
        """Measure side ``k``, or return its DNA."""
        side, key = self.images[k], self.keys[k]
        if isinstance(side, DNA):
            return Measured({side.kind: side}, [])
        if key in self._measured:
            return self._measured[key]
        if self.arguments.pairs and self.jobs[k].reading.skip_unreadable:
            self._measured.update(self._whole_pairs(self.arguments.pairs))
            return self._measured[key]
        result = measure(self.jobs[k], side, distributed=self.arguments.distributed, on=self.arguments.on)
        if len(self.images) == 2 or self.keys.count(key) > 1:
            self._measured[key] = result
        return result

    def _whole_pairs(self, pairs: Pairs) -> dict[object, Measured]:
        """Measure all sides by key; those with images whose partner turns out to be unreadable again, without these."""
        of_sides = zip(self.keys, self.images, self.jobs, strict=True)
        sides = {key: (images, job) for key, images, job in of_sides if isinstance(images, ImageSource)}
        settings: dict[str, Any] = {"distributed": self.arguments.distributed, "on": self.arguments.on}
        measured = {key: measure(job, images, **settings) for key, (images, job) in sides.items()}
        of_pairs = {key: keys_of_pairs(images, pairs) for key, (images, _) in sides.items()}
        whole = set.intersection(*({of_pairs[key][i] for i in side.numbers} for key, side in measured.items()))
        if not whole:
            first = next(line for side in measured.values() for line in side.unreadable)
            raise ValueError(f"No pair has two images that could be read; the first that could not: {first}")
        for key, (images, job) in sides.items():
            numbers = [i for i, pair in enumerate(of_pairs[key]) if pair in whole]
            alone = sorted({*measured[key].numbers} - {*numbers})
            if alone and job.folds is not None:
                job_of_whole = replace(job, folds=[job.folds[i] for i in numbers])
                again = measure(job_of_whole, images.take(numbers), **settings)
                lines = [f"Can't use image {images.names[i]!r}: its partner can't be read" for i in alone]
                measured[key] = replace(again, unreadable=measured[key].unreadable + lines, numbers=numbers)
        return measured


def open_sides(sides: Sequence[Source | DNA], arguments: Arguments, kinds: Sequence[Kind] | None = None) -> Sides:
    """Open all sides, and prepare to measure them; errors of any side come before the first is measured.

    Args:
        sides: Images, DNAs and paths of them.
        arguments: The arguments.
        kinds: Kinds of DNA to make of images, perhaps none; by default those that the metrics take, if there are
            images.

    """
    opened = open_each(sides, arguments)
    if arguments.num_folds is None:  # those of a file would be tested
        opened = [replace(side, folds=()) if isinstance(side, DNA) and side.folds else side for side in opened]
    dnas = [side for side in opened if isinstance(side, DNA)]
    if kinds is None or len(dnas) < len(opened):  # else images come later
        check_used(arguments.reading or Reading(), *opened)
    if arguments.on is not None:
        for side in opened:
            if not isinstance(side, DNA):
                check_on_ray(arguments.on, side)
    distances = resolve_distances(arguments.metrics, dnas) if kinds is None else []
    num_folds = arguments.num_folds
    check_confidence(arguments.confidence)
    if num_folds is not None:
        check_num_folds(num_folds)
    folds: Sequence[Sequence[int] | None] = [None] * len(opened)
    if arguments.pairs:
        if arguments.groups is not None or num_folds is None:
            conflict = "groups" if num_folds else "num_folds"
            raise ValueError(
                f"Argument `pairs` does not go with `{conflict}`, since pairs make the folds; leave one out"
            )
        folds, num_folds = folds_of_pairs(opened, arguments.pairs, num_folds)
    if arguments.groups is not None and num_folds is None:
        raise ValueError("Argument `groups` says which images share a fold; give `num_folds`, too, or leave it out")
    grouped = _groups_of_sides(arguments.groups, len(opened))
    for side, groups in zip(opened, grouped, strict=True):
        if num_folds is not None and not isinstance(side, DNA):
            grouping(side, groups)
    if kinds is None and len(dnas) == len(opened):
        check_of_dnas(dnas, arguments.feature, arguments.num_bins)
        if arguments.groups is not None:
            raise ValueError("Argument `groups` is for images, but only DNAs are given; leave it out")
        return Sides(arguments, opened, distances, {}, [], range(len(opened)))
    kinds = kinds_for(distances) if kinds is None else kinds
    options = arguments.feature, arguments.layers, arguments.num_bins, arguments.ranges
    setup = set_up(*options, dnas, histograms="histogram" in kinds, to_gpu=True)
    extractor, fitting = setup.extractor, iter(setup.dnas)
    for side in opened:
        if not isinstance(side, DNA):
            check_channels(side, extractor.image_channels)
    resolve_weights(arguments.neuron_weights, extractor.neurons, extractor.name, extractor.weights_digest)
    network = (arguments.neuron_weights is None and without_properties(extractor.neurons)) or extractor.neurons
    by_fold = bool(arguments.pairs) or arguments.groups is not None
    estimated = [] if num_folds is None else [record for record in distances if record.by_image]
    plans = plans_for(estimated, opened, network, by_fold=by_fold) if estimated else {}
    rows, limits = rows_for(arguments, distances, plans, opened, network)
    job = Job.for_dnas(setup, kinds, arguments.reading, num_folds, rows)
    job = noting_properties(job) if "means" in rows else job
    result = Sides(
        arguments,
        [next(fitting) if isinstance(side, DNA) else side for side in opened],
        distances,
        plans,
        [replace(job, groups=groups, folds=of_side) for groups, of_side in zip(grouped, folds, strict=True)] or [job],
        [(id(side), id(grouped[k])) for k, side in enumerate(opened)],
        limits,
    )
    if distances:
        result.check_enough(distances[0])
    return result


def _groups_of_sides(groups: Groups | tuple[Groups, ...] | None, count: int) -> Sequence[Groups | None]:
    if groups is None or isinstance(groups, str) or callable(groups) or count == 1:
        return [groups] * count
    if isinstance(groups, tuple) and len(groups) == count:
        return groups
    raise ValueError(
        f"Argument `groups` expected to be a tuple of {count} sequences, one for each side, but got another"
    )


def example_of(arguments: Arguments) -> Example | None:
    """Return what the given extractor takes instead of images; None for images."""
    return arguments.feature.example if isinstance(arguments.feature, DNAExtractor) else None


def open_each(sides: Sequence[Source | DNA], arguments: Arguments) -> list[Images | DNA]:
    """Open images, or what the given extractor takes, and DNAs, restricted to the layers.

    What is one object or path is opened as one.
    """
    layers, ranges = arguments.layers, None if arguments.ranges == "auto" else arguments.ranges
    opened: list[Images | DNA] = []
    with ThreadPoolExecutor() as pool:  # files of DNAs: unpacking and checksums release Python's lock
        loads = [pool.submit(load_dna, side, ranges) if is_dna_path(side) else None for side in sides]
        for side, load in zip(sides, loads, strict=True):
            value = side if load is None else load.result()
            if not isinstance(value, DNA):
                opened.append(open_source(value, arguments.reading, example_of(arguments)))
            else:
                opened.append(value if layers is None or is_unnamed(value) else value.select(layers))
    named_dna = next((side for side in opened if isinstance(side, DNA) and not is_unnamed(side)), None)
    if named_dna is not None:
        origin = {"extractor": named_dna.extractor, "weights_digest": named_dna.weights_digest}
        opened = [named(side, named_dna.neurons, **origin) if isinstance(side, DNA) else side for side in opened]
    first: list[tuple[object, Images | DNA]] = []
    for side, source in zip(opened, sides, strict=True):
        same = (earlier for its_source, earlier in first if its_source is source or are_same(earlier, side))
        first.append((source, next(same, side)))
    return [side for _, side in first]
