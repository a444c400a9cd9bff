"""Measure activation ranges in one pass over image sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from torchmetrics_dna.images import Reading, open_source
from torchmetrics_dna.images.sources import check_used
from torchmetrics_dna.jobs.job import Job, check_any_read
from torchmetrics_dna.jobs.processes import gather, in_step, rank, world_size
from torchmetrics_dna.neurons.ranges import ActivationRanges
from torchmetrics_dna.statistics import RangeStatistic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import Images, Source
    from torchmetrics_dna.neurons.ranges import FixedMargin


class MeasuredRanges(NamedTuple):
    """Activation ranges measured in one pass over image sets."""

    ranges: ActivationRanges  # of all images, united with the given ones
    num_images: int  # that were measured
    unreadable: list[str]  # one line for each image that was left out


def measure_ranges(
    sources: Sequence[Source | ActivationRanges],
    extractor: DNAExtractor,
    margin: FixedMargin = "widen",
    *,
    reading: Reading | None = None,
    distributed: bool = False,
) -> MeasuredRanges:
    """Measure the minimum and maximum of each neuron in one pass over image sets; earlier ranges may be among them.

    ``margin`` is the rule of the ranges, see :class:`ActivationRanges`; other arguments are those of :func:`make_dna`.

    Raises:
        ValueError: If a source has no images, one can't be read, activations are not finite, or earlier ranges are of
            other layers or another margin rule.
        RuntimeError: If there are no sources.

    Example:
        >>> import torch
        >>> from torchmetrics_dna import DNAExtractor
        >>> extractor = DNAExtractor("efficientnet_lite0", layers=["head"])
        >>> black, white = torch.zeros(2, 3, 40, 50), torch.ones(1, 3, 40, 50)
        >>> measure_ranges([black, white], extractor).num_images
        3

    """
    reading = reading or Reading()
    with in_step(distributed):
        statistic = RangeStatistic(extractor, margin)
        state = statistic.empty(extractor.device)
        opened: list[Images] = []
        for source in sources:
            if isinstance(source, ActivationRanges):
                statistic.add_ranges_(state, source)
            else:
                opened.append(open_source(source, reading))
        check_used(reading, *opened)
        unreadable: list[str] = []
        job = Job(extractor, {"ranges": statistic}, reading)
        for images in opened:
            (split,) = job.run(images.split(rank(), world_size()) if distributed else images)
            statistic.merge_(state, split.states["ranges"])
            unreadable += split.unreadable
        if distributed:
            unreadable = [line for lines in gather(unreadable) for line in lines]
            statistic.reduce_(state)
        if opened:
            check_any_read(statistic.num_images(state) + len(unreadable), unreadable, opened[0].label)
        return MeasuredRanges(statistic.value(state), statistic.num_images(state), unreadable)
