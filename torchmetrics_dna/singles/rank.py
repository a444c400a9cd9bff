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

_MOST_TYPICAL = 200  # images of the reference that are scored for comparison


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
        reference: A histogram DNA, or a path that :func:`load_dna` accepts; or images, even a single one. Up to 200
            reference images are scored too, for typical scores, unless they are a stream.
        feature: A :class:`DNAExtractor`, or its ``feature``; by default the extractor of the reference.
        contrast: ``"pool"``: all ranked images; their histograms are kept in memory, or above 2 GB a second pass is
            made. Or other images, a DNA or its path. None to rank by the distance to the reference alone
            (sections 5.1 and 5.4 of the paper), by which plain images are close to everything.
        nearest: Images, their :class:`Features`, or the path of a file of these (``ranking.index.save``), in which to
            find the nearest neighbour of each image, to detect copies; if they are the reference's images, these are
            measured only once.
        layers: Names of the layers, if ``feature`` is not an extractor.
        num_bins: Bins of each neuron's histogram, if the reference is images.
        ranges: Activation ranges, the path of a file of them, or ``"auto"``; for a reference without ranges.
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
        index_source = _open_nearest(nearest, reference, sides[0], reading)
        check_used(reading, source, *sides, index_source)
        dnas = [side for side in sides if isinstance(side, HistogramDNA)]
        resolved = resolve(feature, layers, num_bins, ranges, dnas, to_gpu=True)
        extractor = resolved.extractor
        if isinstance(index_source, Features):
            check_index(index_source, extractor)
        weights = resolve_weights(neuron_weights, extractor.neurons, extractor.name, extractor.weights_digest)
        return _Run(resolved, weights, reading, distributed).rank(source, sides, pools, index_source)


def _of_histograms(side: Images | DNA, name: str) -> Images | HistogramDNA:
    """Return the side; TypeError if it is a DNA without histograms."""
    if isinstance(side, DNA) and not isinstance(side, HistogramDNA):
        raise TypeError(f"Argument `{name}` expected to be a HistogramDNA or images, but got {side!r}")
    return side


def _open_nearest(
    nearest: Source | Features | None, reference: Any, side: Images | HistogramDNA, reading: Reading
) -> Images | Features | None:
    """Open the images or features of the index; return the reference's own source if they are the same images."""
    if nearest is None or isinstance(nearest, Features):
        return nearest
    if isinstance(nearest, (str, os.PathLike)) and _is_index(nearest):
        return Features.load(nearest)
    paths = isinstance(nearest, (str, os.PathLike)) and isinstance(reference, (str, os.PathLike))
    same = os.path.realpath(nearest) == os.path.realpath(reference) if paths else nearest is reference  # type: ignore[arg-type]
    return side if same and not isinstance(side, DNA) else open_source(nearest, reading)


def _is_index(path: str | os.PathLike[str]) -> bool:
    """True if a path is named like a file of features, or is one; a ``.npz`` may also hold images."""
    if str(path).endswith((".features.npz", OLD_INDEX)):
        return True
    return Path(path).is_file() and is_container(path)


class _Run:
    """Passes over images for one ranking."""

    def __init__(self, resolved: Resolved, weights: Tensor | None, reading: Reading, distributed: bool) -> None:
        self.resolved, self.weights, self.reading, self.distributed = resolved, weights, reading, distributed
        self.dnas = iter(resolved.dnas)

    def rank(
        self,
        source: Images,
        sides: list[Images | HistogramDNA],
        pools: bool,
        index_source: Images | Features | None,
    ) -> Ranking:
        own = index_source is sides[0]
        reference, *contrasts = (
            self._measured(side, folds=pools, features=own and side is index_source) for side in sides
        )
        references = [cast("HistogramDNA", side.dnas["histogram"]) for side in (reference, *contrasts)]
        index = self._index(index_source, reference if own else None)
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
        """Return a job that makes histograms."""
        return Job.for_dnas(self.resolved, ["histogram"], self.reading, NUM_FOLDS if folds else None)

    def _rows(self, images: Images, **statistics: ImageRows) -> Measured:
        """Measure only statistics of single images."""
        return self._measure(Job(self.resolved.extractor, statistics, self.reading), images)

    def _features(self) -> SpatialMeans:
        """Return the statistic for features of the last layer."""
        return SpatialMeans.of_last_layer(self.resolved.extractor.neurons)

    def _index(self, index_source: Images | Features | None, reference: Measured | None) -> Features | None:
        if index_source is None or isinstance(index_source, Features):
            return index_source
        return (reference or self._rows(index_source, features=self._features())).features

    def _score(
        self, source: Images, references: list[HistogramDNA], pools: bool, features: bool
    ) -> tuple[Measured, Scorer]:
        """Measure distances of the images to all references and, if ``pools``, to their pool.

        Returns:
            The measured values, and a scorer with the same references.

        """
        scorer = Scorer(references, self.resolved.extractor, self.weights)
        rows: dict[str, ImageRows] = {"distances": Distances(scorer, pools)}
        rows |= {"features": self._features()} if features else {}
        if not pools:
            return self._rows(source, **rows), scorer
        measured = self._measure(self._job(folds=True).also(**rows), source)
        scorer = scorer.beside(measured.states["distances"]["pool"])
        if measured.rows["distances"].isnan().any():  # histograms could not be kept
            second_pass = self._rows(source, distances=Distances(scorer))
            measured = replace(measured, rows={**measured.rows, **second_pass.rows})
        return measured, scorer

    def _typical(self, side: Images | HistogramDNA, count: int, scorer: Scorer) -> Tensor | None:
        """Score images of the reference, each against the other ``count - 1``; a sample if there are many."""
        if isinstance(side, (HistogramDNA, ImageStream)) or count < 2:
            return None
        drawn = torch.randperm(len(side), generator=torch.Generator().manual_seed(0))[:_MOST_TYPICAL].sort().values
        measured = self._rows(side.take(drawn.tolist()), distances=Distances(scorer))
        # F of all contains 1/count of the image's own F, so the leave-one-out distance is proportional
        return contrasted(
            measured.rows["distances"] * torch.tensor([count / (count - 1), 1.0])[: scorer.num_references]
        )

    def _p_value(self, reference: HistogramDNA, pool: HistogramDNA) -> float | None:
        return DISTANCES["dna-emd"].result(reference, pool, self.weights).p_value


def _shares(scores: Tensor, typical: Tensor) -> Tensor:
    """Return the share of typical scores that are worse, counting ties by half."""
    typical = typical.sort().values
    below, up_to = (torch.searchsorted(typical, scores, right=right) for right in (False, True))
    return 1 - (below + up_to).double() / (2 * len(typical))
