"""Compare two image sets class by class, in one pass."""

from __future__ import annotations

from dataclasses import replace
from functools import partial, reduce
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.comparisons.class_comparisons import ClassComparisons
from torchmetrics_dna.comparisons.classes import by_class
from torchmetrics_dna.comparisons.compare_measured import compare_measured
from torchmetrics_dna.comparisons.comparisons import names_of
from torchmetrics_dna.dna.base import merged
from torchmetrics_dna.dna.distances import kinds_for, resolve_distances
from torchmetrics_dna.dna.neuron_weights import resolve_weights
from torchmetrics_dna.extras import without_numba
from torchmetrics_dna.images import ImageStream
from torchmetrics_dna.jobs.job import Job, is_small_job
from torchmetrics_dna.jobs.measure import Measured
from torchmetrics_dna.jobs.processes import gather, in_step, rank, world_size
from torchmetrics_dna.jobs.sides import Arguments, open_images
from torchmetrics_dna.statistics.resolve import resolve

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.images import Images, ImageSource

    Total = tuple[Measured, Measured] | None


def compare_classes(a: Any, b: Any, by: Any, arguments: Arguments) -> ClassComparisons:
    """Compare each class of one image set with the same class of another.

    Both sets are read class by class, so only one class of each is in memory at a time. The counts of a class equal
    those of its images measured alone.

    Args:
        a: Images that have an index, or Parquet files.
        b: As ``a``.
        by: See :func:`compare`.
        arguments: The arguments of the comparison.

    Raises:
        ValueError: If an image has no class, or the sets have no class in common.

    """
    for name in ("groups", "neuron_names", "changes", "on"):
        if getattr(arguments, name) is not None:
            raise ValueError(f"Argument `{name}` is for whole sets; leave it out, or leave out `by`")
    with in_step(arguments.distributed):
        sides = open_images((a, b), "A comparison of classes", arguments.reading)
        classes = [by_class(side, labels) for side, labels in zip(sides, _pair(by), strict=True)]
        common = _in_common(*classes)
        distances = resolve_distances(arguments.metrics, [])
        if lacking := [record.name for record in distances if not record.kinds]:
            raise ValueError(f"Argument `metrics` takes no {lacking[0]} class by class; leave it out")
        kinds = kinds_for(distances)
        options = arguments.feature, arguments.layers, arguments.num_bins, arguments.ranges
        resolved = resolve(*options, histograms="histogram" in kinds, to_gpu=True)
        extractor, weights = resolved.extractor, arguments.neuron_weights
        resolve_weights(weights, extractor.neurons, extractor.name, extractor.weights_digest)
        job = Job.for_dnas(resolved, kinds, arguments.reading, arguments.num_folds)
        compared = partial(
            compare_measured,
            neuron_weights=weights,
            distances=distances,
            confidence=arguments.confidence,
            names=names_of(a, b),
        )
        # processes share whole classes, so that results do not depend on the number of processes
        mine = common[rank() :: world_size()] if arguments.distributed else common
        measured = [
            _by_class(side, members, mine, job, arguments.distributed)
            for side, members in zip(sides, classes, strict=True)
        ]
        with without_numba(all(map(is_small_job, sides))):
            results: dict[str, Comparison] = {}
            total: Total = None
            for name, a_class, b_class in zip(mine, *measured, strict=True):
                results[name] = replace(compared(a_class, b_class), measured=None)
                total = _added(total, (a_class, b_class))
            if arguments.distributed:
                results, total = _gathered(results, total, common)
            assert total is not None
            return ClassComparisons(results, compared(*total), _alone(*classes))


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
    images: Images, members: Mapping[str, list[Any]], names: Sequence[str], job: Job, distributed: bool
) -> Iterator[Measured]:
    if not isinstance(images, ImageStream):
        return _by_split(images, [members[name] for name in names], job)
    if distributed:
        raise ValueError(f"{images.label!r} is a stream, whose classes one process reads; leave out `distributed`")
    return _as_they_come(images, {image: name for name in names for image in members[name]}, names, job)


def _as_they_come(
    images: ImageStream, class_of: Mapping[str, str], names: Sequence[str], job: Job
) -> Iterator[Measured]:
    """Measure all classes of a stream in one pass; all are in memory."""
    splits = job.run_by(images, class_of.get, names)
    for name in names:
        split = splits.pop(name)
        yield Measured(job.values(split), split.unreadable)


def _by_split(images: ImageSource, classes: Sequence[list[int]], job: Job) -> Iterator[Measured]:
    """Measure the classes one after another, in one pass over their images."""
    taken = images.take([number for numbers in classes for number in numbers])
    ends = pairwise([0, *accumulate(map(len, classes))])
    for split in job.run(taken, [range(*pair) for pair in ends]):
        yield Measured(job.values(split), split.unreadable)
        del split


def _added(total: Total, more: Total) -> Total:
    """Merge two pairs of sides."""
    if total is None or more is None:
        return total or more
    joined = list[Measured]()
    for a, b in zip(total, more, strict=True):
        dnas = {kind: merged([dna, b.dnas[kind]]) for kind, dna in a.dnas.items()}
        joined.append(Measured(dnas, a.unreadable + b.unreadable))
    return joined[0], joined[1]


def _gathered(
    results: dict[str, Comparison], total: Total, common: Sequence[str]
) -> tuple[dict[str, Comparison], Total]:
    """Gather the results of all processes, classes in the order of ``common``."""
    shares = gather((results, total))
    merged_results = {name: comparison for part, _ in shares for name, comparison in part.items()}
    return {name: merged_results[name] for name in common}, reduce(_added, (share for _, share in shares))
