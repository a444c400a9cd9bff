"""Compare two image sets class by class, in one pass."""

from __future__ import annotations

from dataclasses import replace
from functools import partial, reduce
from itertools import accumulate, chain, pairwise
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.comparisons.class_comparisons import ClassComparisons
from torchmetrics_dna.comparisons.classes import by_class
from torchmetrics_dna.comparisons.compare_measured import compare_measured
from torchmetrics_dna.comparisons.comparisons import names_of
from torchmetrics_dna.dna.distances import kinds_for, resolve_distances
from torchmetrics_dna.dna.neuron_weights import resolve_weights
from torchmetrics_dna.extras import without_numba
from torchmetrics_dna.images import ImageStream
from torchmetrics_dna.jobs.job import Job
from torchmetrics_dna.jobs.loading import is_small_job
from torchmetrics_dna.jobs.measure import Measured
from torchmetrics_dna.jobs.processes import gather, in_step, rank, world_size
from torchmetrics_dna.jobs.sides import Arguments, open_images
from torchmetrics_dna.statistics.resolve import resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.images import Images
    from torchmetrics_dna.jobs.job import Split

    Total = tuple[Measured, Measured] | None


def compare_classes(a: Any, b: Any, by: Any, arguments: Arguments) -> ClassComparisons:
    """Compare each class of one image set with the same class of another.

    Both sets are read class by class, so only one class of each is in memory at a time. The counts of a class equal
    those of its images measured alone. ``a`` and ``b`` are images that have an index, or Parquet files.
    """
    for name in ("groups", "neuron_names", "changes", "on"):
        if getattr(arguments, name) is not None:
            raise ValueError(f"Argument `{name}` is for whole sets; leave it out, or leave out `by`")
    with in_step(arguments.distributed):
        sides = open_images((a, b), "A comparison of classes", arguments.reading)
        of_sides = by if isinstance(by, tuple) and len(by) == 2 else (by, by)
        in_a, in_b = (by_class(side, labels) for side, labels in zip(sides, of_sides, strict=True))
        common = [name for name in in_a if name in in_b]
        if not common:
            raise ValueError(
                f"The two sets have no class in common; their first ones are {next(iter(in_a))!r} and"
                f" {next(iter(in_b))!r}"
            )
        if arguments.distributed and (streams := [side for side in sides if isinstance(side, ImageStream)]):
            raise ValueError(
                f"{streams[0].label!r} is a stream, whose classes one process reads; leave out `distributed`"
            )
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
        measured = [_by_class(side, members, mine, job) for side, members in zip(sides, (in_a, in_b), strict=True)]
        with without_numba(all(map(is_small_job, sides))):
            results: dict[str, Comparison] = {}
            total: Total = None
            for name, a_class, b_class in zip(mine, *measured, strict=True):
                results[name] = replace(compared(a_class, b_class), measured=None)
                total = _added(total, (a_class, b_class))
            if arguments.distributed:
                shares = gather((results, total))
                merged_results = {name: comparison for part, _ in shares for name, comparison in part.items()}
                results = {name: merged_results[name] for name in common}
                total = reduce(_added, (share for _, share in shares))
            assert total is not None
            alone = [name for name in in_a if name not in in_b], [name for name in in_b if name not in in_a]
            return ClassComparisons(results, compared(*total), alone)


def _by_class(images: Images, members: Mapping[str, list[Any]], names: Sequence[str], job: Job) -> Iterator[Measured]:
    """Measure classes one after another in one pass over their images; those of a stream are all in memory."""
    in_turn: Iterable[Split]
    if isinstance(images, ImageStream):
        splits = job.run_by(images, {image: name for name in names for image in members[name]}.get, names)
        in_turn = (splits.pop(name) for name in names)
    else:
        classes = [members[name] for name in names]
        ends = pairwise([0, *accumulate(map(len, classes))])
        in_turn = job.run(images.take(list(chain(*classes))), [range(*pair) for pair in ends])
    for split in in_turn:
        yield Measured(job.dnas(split), split.unreadable)
        del split


def _added(total: Total, more: Total) -> Total:
    """Merge two pairs of sides."""
    if total is None or more is None:
        return total or more
    return total[0].joined(more[0]), total[1].joined(more[1])
