"""Rank single images by how close they are to a reference, in contrast to the pool that they come from."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from torchmetrics_dna.dna import DNA, HistogramDNA
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.features import OLD_INDEX, Features
from torchmetrics_dna.dna.neuron_weights import resolve_weights
from torchmetrics_dna.files.container import is_container
from torchmetrics_dna.functional.permutation import NUM_FOLDS
from torchmetrics_dna.images import ImageSource, ImageStream, Reading, open_source
from torchmetrics_dna.images.sources import check_used
from torchmetrics_dna.jobs.features import Distances, SpatialMeans, contrasted
from torchmetrics_dna.jobs.job import Job
from torchmetrics_dna.jobs.measure import Measured, measure
from torchmetrics_dna.jobs.processes import in_step
from torchmetrics_dna.jobs.sides import open_side
from torchmetrics_dna.singles.nearest import check_index, find_nearest
from torchmetrics_dna.singles.ranking import Ranking
from torchmetrics_dna.statistics.resolve import resolve
from torchmetrics_dna.statistics.scores import POOL, Scorer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_dna.dna.neuron_weights import NeuronWeights
    from torchmetrics_dna.images import Images, Source
    from torchmetrics_dna.neurons.ranges import ActivationRanges
    from torchmetrics_dna.statistics.resolve import Feature, Resolved
    from torchmetrics_dna.statistics.rows import ImageRows

_MOST_TYPICAL = 200  # images of the reference whose scores say what is typical


def rank(
    images: Source,
    reference: Source | DNA,
    feature: Feature | None = None,
    *,
    contrast: Source | DNA | None = POOL,
    nearest: Source | Features | None = None,
    layers: Sequence[str] | None = None,
    num_bins: int | None = None,
    ranges: ActivationRanges | str | os.PathLike[str] | None = None,
    neuron_weights: NeuronWeights | Tensor | str | os.PathLike[str] | None = None,
    reading: Reading | None = None,
    distributed: bool = False,
) -> Ranking:
    """Rank images by how much closer each of them is to a reference than to the pool that they come from.

    Args:
        images: See :func:`make_dna`.
        reference: A histogram DNA, or the path of one as :func:`load_dna` takes it; or images, even a single one. Of
            images, up to 200 are scored too, to say what is typical, unless they are a stream.
        feature: What describes the images; by default what the reference was made with.
        contrast: ``"pool"``: all images that are ranked, of which histograms are kept, or beyond 2 GB a second pass is
            made. Or other images, a DNA or its path. None to rank by the distance to the reference alone
            (sections 5.1 and 5.4 of the paper), which takes plain images for close to everything.
        nearest: Images, or their :class:`Features` or the path of a file of them (``ranking.index.save``), among which
            the nearest to each image is looked up, to find copies; best the reference's images, which are then
            measured but once.
        layers: Which layers, if ``feature`` is not an extractor.
        num_bins: Bins of each neuron's histogram, if the reference is images.
        ranges: Activation ranges, the path of a file of them, or ``"auto"``; for a reference that does not have them.
        neuron_weights: Weights of Eq. (5): :class:`NeuronWeights`, the path of a file of them, or shape ``(N,)``; by
            default the plain mean.
        reading: Options for reading the images.
        distributed: Share the images among the processes of torch.distributed; all get the same result.

    Raises:
        TypeError: If the reference or the contrast is a DNA without histograms.
        ValueError: If an argument is wrong, there are no images, one can't be read, or an argument
            does not fit the reference.

    Example:
        >>> import numpy as np
        >>> grey = [np.full((40, 50, 3), level, np.uint8) for level in (250, 10, 120)]
        >>> rank(grey, np.zeros((40, 50, 3), np.uint8), layers=["block_0"]).names
        ['image 1', 'image 2', 'image 0']

    """
    reading = reading or Reading()
    with in_step(distributed):
        source = open_source(images, reading)
        pools = isinstance(contrast, str) and contrast == POOL
        sources: list[Any] = [reference] if pools or contrast is None else [reference, contrast]
        sides = [
            _of_histograms(open_side(source_of_side, layers, ranges, reading), name)
            for source_of_side, name in zip(sources, ("reference", "contrast"), strict=False)
        ]
        looked_up = _open_nearest(nearest, reference, sides[0], reading)
        check_used(reading, source, *sides, looked_up)
        dnas = [side for side in sides if isinstance(side, HistogramDNA)]
        way = resolve(feature, layers, num_bins, ranges, dnas, to_gpu=True)
        extractor = way.extractor
        if isinstance(looked_up, Features):
            check_index(looked_up, extractor)
        weights = resolve_weights(neuron_weights, extractor.neurons, extractor.name, extractor.weights_digest)
        return _Run(way, weights, reading, distributed).rank(source, sides, pools, looked_up)


def _of_histograms(side: Images | DNA, name: str) -> Images | HistogramDNA:
    """The side; TypeError if it is a DNA without histograms."""
    if isinstance(side, DNA) and not isinstance(side, HistogramDNA):
        raise TypeError(f"Argument `{name}` expected to be a HistogramDNA or images, but got {side!r}")
    return side


def _open_nearest(
    nearest: Source | Features | None, reference: Any, side: Images | HistogramDNA, reading: Reading
) -> Images | Features | None:
    """Open the images among which to look for the nearest; the reference's own source if it is that."""
    if nearest is None or isinstance(nearest, Features):
        return nearest
    if isinstance(nearest, (str, os.PathLike)) and _is_index(nearest):
        return Features.load(nearest)
    paths = isinstance(nearest, (str, os.PathLike)) and isinstance(reference, (str, os.PathLike))
    same = os.path.realpath(nearest) == os.path.realpath(reference) if paths else nearest is reference  # type: ignore[arg-type]
    return side if same and not isinstance(side, DNA) else open_source(nearest, reading)


def _is_index(path: str | os.PathLike[str]) -> bool:
    """True for the path of a file of features, which may not be there; a ``.npz`` may hold images, too."""
    if str(path).endswith((".features.npz", OLD_INDEX)):
        return True
    return Path(path).is_file() and is_container(path)


class _Run:
    """Measurements for one ranking."""

    def __init__(self, way: Resolved, weights: Tensor | None, reading: Reading, distributed: bool) -> None:
        self.way, self.weights, self.reading, self.distributed = way, weights, reading, distributed
        self.dnas = iter(way.dnas)

    def rank(
        self,
        source: Images,
        sides: list[Images | HistogramDNA],
        pools: bool,
        looked_up: Images | Features | None,
    ) -> Ranking:
        own = looked_up is sides[0]
        reference, *contrasts = (
            self._measured(side, folds=pools, features=own and side is looked_up) for side in sides
        )
        references = [cast("HistogramDNA", side.dnas["histogram"]) for side in (reference, *contrasts)]
        index = self._index(looked_up, reference if own else None)
        measured, scorer = self._score(source, references, pools, features=index is not None)
        if pools:
            references.append(cast("HistogramDNA", measured.dnas["histogram"]))
        distances = measured.rows["distances"]
        scores, typical = contrasted(distances), self._typical(sides[0], references[0].num_images, scorer)
        order = torch.tensor(sorted(range(len(scores)), key=lambda i: (float(scores[i]), i)))
        names, numbers = ([values[i] for i in order.tolist()] for values in (measured.names, measured.numbers))
        nearest = None
        if index is not None and measured.features is not None:
            nearest = find_nearest(measured.features, index).take(order)
        p_value = self._p_value(*references) if pools else None
        return Ranking(
            names=names,
            scores=scores[order],
            numbers=numbers,
            images=source,
            reference=replace(references[0], folds=()),
            unreadable=measured.unreadable,
            distances=distances[order, 0] if len(references) > 1 else None,
            contrast=replace(references[1], folds=()) if len(references) > 1 else None,
            shares=None if typical is None else _shares(scores[order], typical),
            nearest=nearest,
            index=index,
            p_value=p_value,
            reference_images=sides[0] if isinstance(sides[0], ImageSource) else None,
        )

    def _measured(self, side: Images | HistogramDNA, folds: bool, features: bool) -> Measured:
        if isinstance(side, HistogramDNA):
            return Measured({"histogram": next(self.dnas)}, [])
        job = self._job(folds)
        return self._measure(job.also(features=self._features()) if features else job, side)

    def _measure(self, job: Job, images: Images) -> Measured:
        return measure(job, images, distributed=self.distributed)

    def _job(self, folds: bool) -> Job:
        """A job that makes histograms."""
        return Job.for_dnas(self.way, ["histogram"], self.reading, NUM_FOLDS if folds else None)

    def _rows(self, images: Images, **statistics: ImageRows) -> Measured:
        """Measure only statistics of single images."""
        return self._measure(Job(self.way.extractor, statistics, self.reading), images)

    def _features(self) -> SpatialMeans:
        """Features of the last layer."""
        return SpatialMeans.of_last_layer(self.way.extractor.neurons)

    def _index(self, looked_up: Images | Features | None, reference: Measured | None) -> Features | None:
        if looked_up is None or isinstance(looked_up, Features):
            return looked_up
        return (reference or self._rows(looked_up, features=self._features())).features

    def _score(
        self, source: Images, references: list[HistogramDNA], pools: bool, features: bool
    ) -> tuple[Measured, Scorer]:
        """Measure the images: their distances to all references and to the pool, and the pool if there is to be one.

        Returns:
            What was measured, and a scorer against the same.

        """
        scorer = Scorer(references, self.way.extractor, self.weights)
        rows: dict[str, ImageRows] = {"distances": Distances(scorer, pools)}
        rows |= {"features": self._features()} if features else {}
        if not pools:
            return self._rows(source, **rows), scorer
        measured = self._measure(self._job(folds=True).also(**rows), source)
        scorer = scorer.beside(measured.states["distances"]["pool"])
        if measured.rows["distances"].isnan().any():  # histograms could not be kept
            again = self._rows(source, distances=Distances(scorer))
            measured = replace(measured, rows={**measured.rows, **again.rows})
        return measured, scorer

    def _typical(self, side: Images | HistogramDNA, count: int, scorer: Scorer) -> Tensor | None:
        """Scores of images of the reference, each left out of its ``count`` images; of some if there are many."""
        if isinstance(side, (HistogramDNA, ImageStream)) or count < 2:
            return None
        drawn = torch.randperm(len(side), generator=torch.Generator().manual_seed(0))[:_MOST_TYPICAL].sort().values
        measured = self._rows(side.take(drawn.tolist()), distances=Distances(scorer))
        # the distance to the others is in proportion: F of all is a share of 1/count F of the image
        return contrasted(
            measured.rows["distances"] * torch.tensor([count / (count - 1), 1.0])[: scorer.num_references]
        )

    def _p_value(self, reference: HistogramDNA, pool: HistogramDNA) -> float | None:
        return DISTANCES["dna-emd"].result(reference, pool, self.weights).p_value


def _shares(scores: Tensor, typical: Tensor) -> Tensor:
    """The share of typical scores that are worse, with half of those that are equal."""
    typical = typical.sort().values
    below, up_to = (torch.searchsorted(typical, scores, right=right) for right in (False, True))
    return 1 - (below + up_to).double() / (2 * len(typical))
