"""Measure activation ranges in one pass over image sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from torchmetrics_dna.jobs.arguments import Arguments, taking
from torchmetrics_dna.jobs.job import check_any_read
from torchmetrics_dna.jobs.processes import gather, in_step, rank, world_size
from torchmetrics_dna.jobs.sides import open_sides
from torchmetrics_dna.neurons.ranges import ActivationRanges
from torchmetrics_dna.statistics import RangeStatistic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_dna.images import Source
    from torchmetrics_dna.neurons.ranges import FixedMargin
    from torchmetrics_dna.statistics.setup import Feature


class MeasuredRanges(NamedTuple):
    """Activation ranges measured in one pass over image sets."""

    ranges: ActivationRanges  # of all images, united with the given ones
    num_images: int  # that were measured
    unreadable: list[str]  # one line for each image that was left out


@taking("layers", "reading", "distributed")
def measure_ranges(
    sources: Sequence[Source | ActivationRanges],
    feature: Feature | None = None,
    margin: FixedMargin = "widen",
    **options: Any,
) -> MeasuredRanges:
    """Measure the minimum and maximum of each neuron in one pass over image sets; earlier ranges may be among them.

    Args:
        sources: Image sets, see :func:`make_dna`, and earlier ranges.
        feature: As for :func:`make_dna`.
        margin: Rule of the ranges, see :class:`ActivationRanges`.
        options: Some of :class:`Arguments`, as the signature shows.

    Raises:
        ValueError: If a source has no images, one can't be read, activations are not finite, or earlier ranges are of
            other layers or another margin rule.
        RuntimeError: If there are no sources.

    Example:
        >>> import torch
        >>> black, white = torch.zeros(2, 3, 40, 50), torch.ones(1, 3, 40, 50)
        >>> measure_ranges([black, white], layers=["head"]).num_images
        3

    """
    arguments = Arguments(feature, num_folds=None, **options)
    with in_step(arguments.distributed):
        earlier = [source for source in sources if isinstance(source, ActivationRanges)]
        sides = open_sides([source for source in sources if not isinstance(source, ActivationRanges)], arguments, [])
        statistic = RangeStatistic(sides.extractor, margin)
        state = statistic.empty(sides.extractor.device)
        for ranges in earlier:
            statistic.add_ranges_(state, ranges)
        unreadable: list[str] = []
        job = sides.job.also(ranges=statistic)
        opened = [sides.source(k, "A range") for k in range(len(sides.images))]
        for images in opened:
            (split,) = job.run(images.split(rank(), world_size()) if arguments.distributed else images)
            statistic.merge_(state, split.states["ranges"])
            unreadable += split.unreadable
        if arguments.distributed:
            unreadable = [line for lines in gather(unreadable) for line in lines]
            statistic.reduce_(state)
        if opened:
            check_any_read(statistic.num_images(state) + len(unreadable), unreadable, opened[0].label)
        return MeasuredRanges(statistic.value(state), statistic.num_images(state), unreadable)
