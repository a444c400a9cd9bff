"""Measure activation ranges in one pass over image sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from torchmetrics_dna.images.sources import check_used
from torchmetrics_dna.jobs.elsewhere import check_elsewhere, run_elsewhere
from torchmetrics_dna.jobs.job import Job, Split
from torchmetrics_dna.jobs.loading import check_any_read
from torchmetrics_dna.jobs.parts import Finished, parts_of
from torchmetrics_dna.jobs.processes import gather, in_step
from torchmetrics_dna.neurons.ranges import ActivationRanges
from torchmetrics_dna.statistics import RangeStatistic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import Images, Source
    from torchmetrics_dna.jobs.loading import Loading
    from torchmetrics_dna.neurons.ranges import FixedMargin
    from torchmetrics_dna.statistics import State


class MeasuredRanges(NamedTuple):
    """Activation ranges that were measured in one pass over image sets.

    Attributes:
        ranges: Those of all images, united with the ones that were given.
        num_images: How many images were measured.
        unreadable: One line for each image that was left out.

    """

    ranges: ActivationRanges
    num_images: int
    unreadable: list[str]


def measure_ranges(
    sources: Sequence[Source | ActivationRanges],
    extractor: DNAExtractor,
    margin: FixedMargin,
    loading: Loading,
) -> MeasuredRanges:
    """Measure the minimum and maximum of each neuron in one pass over image sets.

    Args:
        sources: Image sets, see :func:`open_source`; also ranges that were measured before.
        extractor: The network, on the device where it is to run.
        margin: Rule of the ranges, ``"widen"`` or ``"scale"``; see :class:`ActivationRanges`.
        loading: How images are read.

    Raises:
        ValueError: If a source has no images, one can't be read, activations are not finite, or earlier ranges are of
            other layers or another margin rule.
        RuntimeError: If there are no sources.

    Example:
        >>> import torch
        >>> from torchmetrics_dna import DNAExtractor
        >>> from torchmetrics_dna.jobs.loading import Loading
        >>> extractor = DNAExtractor("efficientnet_lite0", layers=["head"])
        >>> black, white = torch.zeros(2, 3, 40, 50), torch.ones(1, 3, 40, 50)
        >>> measure_ranges([black, white], extractor, "widen", Loading()).num_images
        3

    """
    with in_step(loading.distributed):
        statistic = RangeStatistic(extractor, margin)
        state = statistic.empty(extractor.device)
        opened: list[Images] = []
        for source in sources:
            if isinstance(source, ActivationRanges):
                statistic.add_ranges_(state, source)
            else:
                opened.append(loading.open(source))
        check_used(loading.reading, *opened)
        unreadable: list[str] = []
        job = Job(extractor, {"ranges": statistic}, loading)
        if loading.engine is not None:
            for images in opened:
                check_elsewhere(images)
            for images in opened:
                unreadable += _add_elsewhere_(state, images, job)
        else:
            for images in opened:
                (split,) = job.run(loading.share_of(images))
                statistic.merge_(state, split.states["ranges"])
                unreadable += split.unreadable
        if loading.distributed:
            unreadable = [line for lines in gather(unreadable) for line in lines]
            statistic.reduce_(state)
        if opened:
            check_any_read(statistic.num_images(state) + len(unreadable), unreadable, opened[0].label)
        return MeasuredRanges(statistic.value(state), statistic.num_images(state), unreadable)


def _add_elsewhere_(state: State, images: Images, job: Job) -> list[str]:
    """Add images in place, by an engine: extremes unite to the same in any order; a line for each that was left out."""
    parts, left_out = parts_of(images, job.loading.batch_size), dict[int, list[str]]()

    def take(part: int, finished: Finished) -> None:
        job.statistics["ranges"].merge_(state, finished.value)
        left_out[part] = finished.unreadable

    run_elsewhere(images, job, parts, range(len(parts)), _on_cpu, take)
    return [line for part in sorted(left_out) for line in left_out[part]]


def _on_cpu(_: Job, split: Split) -> State:
    return {name: tensor.cpu() for name, tensor in split.states["ranges"].items()}
