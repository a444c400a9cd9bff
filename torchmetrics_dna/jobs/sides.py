"""Open image sets and DNAs: what all that measures and compares them starts from."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

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
from torchmetrics_dna.jobs.job import Job
from torchmetrics_dna.jobs.measure import Measured, measure
from torchmetrics_dna.jobs.on_ray import check_on_ray
from torchmetrics_dna.jobs.plan import Plan, make_plan, noting_bands, noting_properties
from torchmetrics_dna.statistics.base import check_num_folds
from torchmetrics_dna.statistics.folds import group_folds
from torchmetrics_dna.statistics.setup import check_of_dnas, given_arguments, set_up

if TYPE_CHECKING:
    from torchmetrics_dna.jobs.arguments import Arguments
    from torchmetrics_dna.statistics import Statistic


@dataclass(frozen=True, eq=False)
class Sides:
    """Image sets and DNAs that were opened and checked together; each is measured when it is asked for."""

    plan: Plan
    images: Sequence[Images | DNA]  # DNAs have the layers and ranges of the job
    jobs: Sequence[Job]  # jobs of each side, at least one; empty if all are DNAs to compare
    keys: Sequence[object]  # equal for sides that are the same images, in the same groups
    # What was measured, if there are two sides, or if a side occurs again.
    _measured: dict[object, Measured] = field(default_factory=dict)

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

    def check_enough(self, record: Distance) -> None:
        """Raise TooFewImagesError if a side is known to have fewer images than a distance takes."""
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
        """Return whether a distance between the first side and side ``k`` can have a test, and an interval."""
        folds = [count for count in map(self._most_folds, (0, k)) if count is not None]
        if record.folded is None or not folds or min(folds) < LEAST_FOLDS:
            return False, False
        of_layers = self.plan.of_layers.get(record.name)
        if of_layers is None:
            return len(folds) == 2, True
        return len(folds) == 2 and of_layers.tested, {*of_layers.debiased} == {*of_layers.neurons}

    def _most_folds(self, k: int) -> int | None:
        """Return the largest number of folds with images that a side can have; None if it is taken as exact."""
        side = self.images[k]
        if isinstance(side, DNA):
            return sum(fold.num_images > 0 for fold in side.folds) if side.folds else None
        num_folds = self.jobs[k].num_folds
        groups = self.jobs[k].groups
        if num_folds is None:
            return None
        if groups is not None and isinstance(side, ImageSource):
            return len({*group_folds(group_names(side, groups), num_folds).tolist()})
        return num_folds if side.count is None else min(num_folds, side.count)

    def source(self, k: int, what: str) -> Images:
        """Return the images of side ``k``; ValueError if it is a DNA, with ``what`` needs them, such as "A report"."""
        side = self.images[k]
        if isinstance(side, DNA):
            noun = noun_of(side)
            raise ValueError(f"{what} needs {noun}s, but got a DNA of {images_in_words(side.num_images, noun)}")
        return side

    def measured(self, k: int) -> Measured:
        """Measure side ``k``, or return its DNA."""
        side = self.images[k]
        key = self.keys[k]
        if isinstance(side, DNA):
            return Measured({side.kind: side}, [])
        if key in self._measured:
            return self._measured[key]
        if self.plan.arguments.pairs and self.jobs[k].reading.skip_unreadable:
            self._measured.update(self._whole_pairs(self.plan.arguments.pairs))
            return self._measured[key]
        result = measure(self.jobs[k], side, distributed=self.plan.arguments.distributed, on=self.plan.arguments.on)
        if len(self.images) == 2 or self.keys.count(key) > 1:
            self._measured[key] = result
        return result

    def _whole_pairs(self, pairs: Pairs) -> dict[object, Measured]:
        """Measure all sides by key; those with images whose partner turns out to be unreadable again, without these."""
        of_sides = zip(self.keys, self.images, self.jobs, strict=True)
        sides = {key: (images, job) for key, images, job in of_sides if isinstance(images, ImageSource)}
        settings: dict[str, Any] = {"distributed": self.plan.arguments.distributed, "on": self.plan.arguments.on}
        measured = {key: measure(job, images, **settings) for key, (images, job) in sides.items()}
        of_pairs = {key: keys_of_pairs(images, pairs) for key, (images, _) in sides.items()}
        whole = set.intersection(*({of_pairs[key][i] for i in side.numbers} for key, side in measured.items()))
        if not whole:
            first = next(line for side in measured.values() for line in side.unreadable)
            raise ValueError(f"No pair could be read on both sides; the first that could not: {first}")
        for key, (images, job) in sides.items():
            numbers = [i for i, pair in enumerate(of_pairs[key]) if pair in whole]
            alone = sorted({*measured[key].numbers} - {*numbers})
            if alone and job.folds is not None:
                job_of_whole = replace(job, folds=[job.folds[i] for i in numbers])
                again = measure(job_of_whole, images.take(numbers), **settings)
                noun = noun_of(self.extractor)
                lines = [f"Can't use {noun} {images.names[i]!r}: its partner can't be read" for i in alone]
                measured[key] = replace(again, unreadable=measured[key].unreadable + lines, numbers=numbers)
        return measured


def open_sides(
    sides: Sequence[Source | DNA],
    arguments: Arguments,
    kinds: Sequence[Kind] | None = None,
    *,
    with_properties: bool = False,
) -> Sides:
    """Open all sides, and prepare to measure them; errors of any side come before the first is measured.

    Args:
        sides: Images, DNAs and paths of them.
        arguments: The arguments.
        kinds: Kinds of DNA to make of images, perhaps none; by default those that the metrics take, if there are
            images.
        with_properties: Whether properties of images are measured, too, if sets of images are compared by a distance of
            neurons, unless the feature says otherwise.

    """
    opened = open_each(sides, arguments)
    if arguments.num_folds is None:
        # Folds of a file would be tested.
        opened = [replace(side, folds=()) if isinstance(side, DNA) and side.folds else side for side in opened]
    dnas = [side for side in opened if isinstance(side, DNA)]
    only_dnas = kinds is None and len(dnas) == len(opened)
    # If DNAs are opened to make others of the same kinds, images come later.
    if kinds is None or len(dnas) < len(opened):
        check_used(arguments.reading or Reading(), *opened)
    for side in opened:
        if arguments.on is not None and not isinstance(side, DNA):
            check_on_ray(arguments.on, side)
    distances = resolve_distances(arguments.metrics, dnas) if kinds is None else ()
    check_confidence(arguments.confidence)
    folding, num_folds = _folding(arguments, opened)
    if only_dnas:
        check_of_dnas(dnas, arguments.feature, arguments.num_bins)
        if arguments.groups is not None:
            raise ValueError("Argument `groups` is for images, but only DNAs are given")
        return Sides(make_plan(arguments, distances, opened, dnas[0]), opened, [], range(len(opened)))
    kinds = kinds_for(distances) if kinds is None else kinds
    beside = with_properties and not dnas and not arguments.averaging
    is_of_rows = example_of(arguments, dnas) is ROWS
    setup = set_up(
        _of_rows(arguments, opened, dnas) if is_of_rows else arguments.feature,
        arguments.layers,
        arguments.num_bins,
        arguments.ranges,
        dnas,
        histograms="histogram" in kinds,
        to_gpu=True,
        with_properties=beside and any(record.grain == "neuron" for record in distances),
    )
    extractor = setup.extractor
    fitting = iter(setup.dnas)
    for side in opened:
        if not isinstance(side, DNA):
            check_channels(side, extractor.image_channels)
    plan = make_plan(arguments, distances, opened, extractor)
    statistics: dict[str, Statistic] = {kind: setup.statistic(kind, num_folds) for kind in kinds}
    job = Job(extractor, {**statistics, **plan.rows}, arguments.reading or Reading(), num_folds)
    if "means" in plan.rows:
        job = noting_properties(job)
    if with_properties and len(opened) == 2 and not dnas and plan.averaging.is_plain and num_folds:
        job = noting_bands(job)
    result = Sides(
        plan,
        [next(fitting) if isinstance(side, DNA) else side for side in opened],
        [replace(job, groups=groups, folds=folds) for groups, folds in folding] or [job],
        [(id(side), id(groups)) for side, (groups, _) in zip(opened, folding, strict=True)],
    )
    if distances:
        result.check_enough(distances[0])
    return result


def _folding(
    arguments: Arguments, opened: Sequence[Images | DNA]
) -> tuple[Sequence[tuple[Groups | None, Sequence[int] | None]], int | None]:
    """Return groups of each side's images and, of pairs, their folds, and the number of folds; all that is checked."""
    groups = arguments.groups
    num_folds = arguments.num_folds
    count = len(opened)
    if num_folds is not None:
        check_num_folds(num_folds)
        counts = [None if isinstance(side, DNA) else side.count for side in opened]
        most = max(NUM_FOLDS, *(count or num_folds for count in counts), 0)
        if num_folds > most:
            raise ValueError(
                f"Argument `num_folds` expected to be at most {most} for sets of {max(filter(None, counts))} or fewer,"
                f" but got {num_folds}"
            )
    if arguments.pairs:
        if groups is not None or num_folds is None:
            conflict = "groups" if num_folds else "num_folds"
            raise ValueError(f"Argument `pairs` does not go with `{conflict}`, since pairs make the folds")
        folds, num_folds = folds_of_pairs(opened, arguments.pairs, num_folds)
        return [(None, of_side) for of_side in folds], num_folds
    if groups is not None and num_folds is None:
        raise ValueError("Argument `groups` needs `num_folds`, since it decides what shares a fold")
    grouped: Sequence[Groups | None]
    if groups is None or isinstance(groups, str) or callable(groups) or count == 1:
        grouped = [groups for _ in opened]
    elif isinstance(groups, tuple) and len(groups) == count:
        grouped = groups
    else:
        raise ValueError(
            f"Argument `groups` expected to be a tuple of {count} sequences, one for each side, but got another"
        )
    for side, of_side in zip(opened, grouped, strict=True):
        if num_folds is not None and not isinstance(side, DNA):
            grouping(side, of_side)
    return [(of_side, None) for of_side in grouped], num_folds


def example_of(arguments: Arguments, dnas: Sequence[DNA] = ()) -> Example | None:
    """Return what the given extractor, or else that of the DNAs, takes instead of images; None for images."""
    name = given_arguments(arguments.feature).get("feature")
    if isinstance(name, DNAExtractor):
        return name.example
    names = [dna.extractor for dna in dnas] if name is None else [name]
    return ROWS if any(map(is_identity, names)) else None


def _of_rows(arguments: Arguments, opened: Sequence[Images | DNA], dnas: Sequence[DNA]) -> DNAExtractor:
    """Return the extractor of embeddings, as wide as the first ones."""
    widths = [dna.neurons.total for dna in dnas]
    widths += [len(side.decode(0).pixels) for side in opened if isinstance(side, ImageSource)]
    if not widths:
        raise ValueError(
            "The number of columns of a stream is not known before it is read; give one of the sets as an array, or"
            " `DNAExtractor('identity:MODEL', inputs='any', example=rows)`"
        )
    for width in widths:
        if width != widths[0]:
            raise ValueError(f"Embeddings have {widths[0]} and {width} columns; give both of one model")
    options = {"feature": dnas[0].extractor if dnas else "", **given_arguments(arguments.feature)}
    return DNAExtractor(**options, inputs="any", example=torch.zeros(2, widths[0]))


def open_each(sides: Sequence[Source | DNA], arguments: Arguments) -> list[Images | DNA]:
    """Open images, or what the given extractor takes, and DNAs, restricted to the layers.

    What is one object or path is opened as one.
    """
    for side in sides:
        if isinstance(side, nn.Module):
            name = type(side).__name__
            raise TypeError(f"Expected sets of images, but got a {name}; a network is the argument `feature`")
    layers = arguments.layers
    ranges = None if arguments.ranges == "auto" else arguments.ranges
    opened: list[Images | DNA] = []
    # Unpacking and checksums of DNA files release Python's lock, so threads load them faster.
    with ThreadPoolExecutor() as pool:
        loads = [pool.submit(load_dna, side, ranges) if is_dna_path(side) else None for side in sides]
        values = [side if load is None else load.result() for side, load in zip(sides, loads, strict=True)]
    example = example_of(arguments, [value for value in values if isinstance(value, DNA)])
    for value in values:
        if not isinstance(value, DNA):
            opened.append(open_source(value, arguments.reading, example))
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
