"""Compare the classes of two image sets, each with its own: a distance for each class, in one pass."""

from __future__ import annotations

from dataclasses import replace
from functools import partial, reduce
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.comparisons.class_comparisons import ClassComparisons
from torchmetrics_dna.comparisons.classes import by_class
from torchmetrics_dna.comparisons.compare_measured import compare_measured
from torchmetrics_dna.dna.base import merged
from torchmetrics_dna.dna.distances import kinds_for, resolve_distances
from torchmetrics_dna.dna.neuron_weights import resolve_weights
from torchmetrics_dna.extras import without_numba
from torchmetrics_dna.images import ImageStream
from torchmetrics_dna.jobs.job import Job
from torchmetrics_dna.jobs.loading import are_few
from torchmetrics_dna.jobs.measure import Measured
from torchmetrics_dna.jobs.processes import gather, in_step, rank, world_size
from torchmetrics_dna.jobs.sides import Asked, open_images
from torchmetrics_dna.statistics.resolve import resolve

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.images import Images, ImageSource

    Total = tuple[Measured, Measured] | None


def compare_classes(a: Any, b: Any, by: Any, asked: Asked) -> ClassComparisons:
    """Compare each class of one image set with the same class of another.

    Both sets are read class by class, so that one class of each is in memory at a time, however many there are. The
    counts of a class are those of its images measured by themselves.

    Args:
        a: Images that have an index, or Parquet files.
        b: Likewise.
        by: See :func:`compare`.
        asked: The arguments of the comparison.

    Raises:
        ValueError: If an image has no class, or the sets have no class in common.

    """
    for name in ("groups", "neuron_names", "changes", "on"):
        if getattr(asked, name) is not None:
            raise ValueError(f"Argument `{name}` is for whole sets; leave it out, or leave out `by`")
    with in_step(asked.distributed):
        sides = open_images((a, b), "A comparison of classes", asked.reading)
        every = [by_class(side, one) for side, one in zip(sides, _pair(by), strict=True)]
        common = _in_common(*every)
        distances = resolve_distances(asked.metrics, [])
        if lacking := [record.name for record in distances if not record.kinds]:
            raise ValueError(f"Argument `metrics` takes no {lacking[0]} class by class; leave it out")
        kinds, wanted = kinds_for(distances), (asked.feature, asked.layers, asked.num_bins, asked.ranges)
        way = resolve(*wanted, histograms="histogram" in kinds, to_gpu=True)
        extractor, weights = way.extractor, asked.neuron_weights
        resolve_weights(weights, extractor.neurons, extractor.name, extractor.weights_digest)
        job = Job.for_dnas(way, kinds, asked.reading, asked.num_folds or None)
        compared = partial(compare_measured, neuron_weights=weights, distances=distances, confidence=asked.confidence)
        # whole classes, so that what a class has does not depend on the number of processes
        mine = common[rank() :: world_size()] if asked.distributed else common
        measured = [_by_class(side, of, mine, job, asked.distributed) for side, of in zip(sides, every, strict=True)]
        with without_numba(all(map(are_few, sides))):
            found: dict[str, Comparison] = {}
            total: Total = None
            for name, one, other in zip(mine, *measured, strict=True):
                found[name] = replace(compared(one, other), measured=None)
                total = _added(total, (one, other))
            if asked.distributed:
                found, total = _gathered(found, total, common)
            assert total is not None
            return ClassComparisons(found, compared(*total), _alone(*every))


def _in_common(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    common = [name for name in a if name in b]
    if not common:
        raise ValueError(
            f"The two sets have no class in common; their first ones are {next(iter(a))!r} and {next(iter(b))!r}"
        )
    return common


def _alone(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    return [name for name in a if name not in b], [name for name in b if name not in a]


def _pair(by: Any) -> tuple[Any, Any]:
    return by if isinstance(by, tuple) and len(by) == 2 else (by, by)


def _by_class(
    images: Images, of: Mapping[str, list[Any]], names: Sequence[str], job: Job, distributed: bool
) -> Iterator[Measured]:
    if not isinstance(images, ImageStream):
        return _by_split(images, [of[name] for name in names], job)
    if distributed:
        raise ValueError(f"{images.label!r} is a stream, whose classes one process reads; leave out `distributed`")
    return _as_they_come(images, {image: name for name in names for image in of[name]}, names, job)


def _as_they_come(
    images: ImageStream, class_of: Mapping[str, str], names: Sequence[str], job: Job
) -> Iterator[Measured]:
    """Measure all classes of a stream in one pass, all in memory."""
    splits = job.run_by(images, class_of.get, names)
    for name in names:
        split = splits.pop(name)
        yield Measured(job.dnas(split), split.unreadable)


def _by_split(images: ImageSource, classes: Sequence[list[int]], job: Job) -> Iterator[Measured]:
    """Measure some of the images after others, in one pass over them."""
    taken = images.take([number for numbers in classes for number in numbers])
    ends = pairwise([0, *accumulate(map(len, classes))])
    for split in job.run(taken, [range(*pair) for pair in ends]):
        yield Measured(job.dnas(split), split.unreadable)
        del split


def _added(total: Total, more: Total) -> Total:
    """The sides of all images, of two such pairs."""
    if total is None or more is None:
        return total or more
    joined = list[Measured]()
    for one, other in zip(total, more, strict=True):
        dnas = {kind: merged([dna, other.dnas[kind]]) for kind, dna in one.dnas.items()}
        joined.append(Measured(dnas, one.unreadable + other.unreadable))
    return joined[0], joined[1]


def _gathered(found: dict[str, Comparison], total: Total, common: Sequence[str]) -> tuple[dict[str, Comparison], Total]:
    """What all processes have found, classes in their order."""
    shares = gather((found, total))
    every = {name: one for some, _ in shares for name, one in some.items()}
    return {name: every[name] for name in common}, reduce(_added, (share for _, share in shares))
