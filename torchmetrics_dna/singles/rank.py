"""Rank single images: by how far they are from a reference's own images, or by how close they are to it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast, get_args

import torch
from torch import Tensor

from torchmetrics_dna.dna import DNA, HistogramDNA, LayerGaussianDNA
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.features import Features
from torchmetrics_dna.dna.neuron_weights import resolve_weights
from torchmetrics_dna.files.container import is_container
from torchmetrics_dna.functional.outliers import layers_for_outliers, left_out_distances, outlier_distance
from torchmetrics_dna.functional.permutation import NUM_FOLDS
from torchmetrics_dna.images import ImageSource, ImageStream
from torchmetrics_dna.images.likeness import digest_note, small_picture
from torchmetrics_dna.jobs.arguments import Arguments, taking
from torchmetrics_dna.jobs.features import Distances, SpatialMeans, contrasted
from torchmetrics_dna.jobs.job import Job
from torchmetrics_dna.jobs.measure import Measured, measure
from torchmetrics_dna.jobs.processes import in_step
from torchmetrics_dna.jobs.sides import Sides, open_images, open_side, open_sides, united
from torchmetrics_dna.singles.nearest import check_index, find_nearest
from torchmetrics_dna.singles.ranking import WORST_FIRST, Ranking, Score
from torchmetrics_dna.statistics.outliers import (
    LocalMomentStatistic,
    LocalScorer,
    OutlierScorer,
    check_size,
    gaussians_of,
    local_layer,
)
from torchmetrics_dna.statistics.scores import POOL, Scorer, check_left_out

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torchmetrics_dna.dna.distance import Kind
    from torchmetrics_dna.images import Images, Source
    from torchmetrics_dna.images.pixels import Pixels
    from torchmetrics_dna.statistics.resolve import Feature
    from torchmetrics_dna.statistics.rows import ImageRows
    from torchmetrics_dna.statistics.scores import ImageScorer

_MOST_TYPICAL = 200  # images of the reference whose dna-emd is measured for comparison


@taking("layers", "num_bins", "ranges", "neuron_weights", "reading", "distributed")
def rank(
    images: Source,
    reference: Source | DNA,
    feature: Feature | None = None,
    *,
    score: Score | None = None,
    contrast: Source | DNA | None = None,
    nearest: Source | Features | None = None,
    **options: Any,
) -> Ranking:
    """Rank images by how far each of them is from a reference's own images, or by how close they are to the reference.

    The scores are those of :class:`DNARealism`, and one more:

    - ``"outlier"`` answers which images are off, worst first. It needs no pool, and works for a single image.
    - ``"local"`` answers which images have a place that is off, worst first: the largest distance of a place, the mean
      over 3 x 3 positions of the layer whose positions are about 8 pixels apart, from the places of the reference,
      which is images. It finds faults in images that are alike, such as textures or aligned pictures.
    - ``"contrast"`` answers which images of a mixed pool are most like the reference, best first.
    - ``"distance"`` is the dna-emd to the reference alone (sections 5.1 and 5.4 of the paper), best first. Plain images
      are close to everything.

    Args:
        images: See :func:`make_dna`.
        reference: Images, even a single one; or a DNA, or a path that :func:`load_dna` accepts: of kind
            ``"layer-gaussian"`` for outlier scores, else ``"histogram"``.
        feature: A :class:`DNAExtractor`, or its ``feature``; by default the extractor of the reference.
        score: By default ``"outlier"``; but ``"contrast"`` if the reference is a histogram DNA or a single image, or
            an argument is given that only dna-emd takes: ``contrast``, ``num_bins``, ``ranges`` or ``neuron_weights``.
        contrast: ``"pool"``, the default of a contrast: all ranked images, which then run through the network
            twice. Or other images, a DNA or its path.
        nearest: Images, their :class:`Features`, or the path of a file of these (``ranking.index.save``), in which to
            find the nearest neighbour of each image, to detect copies; if they are the reference's images, these are
            measured only once.
        options: Some of :class:`Arguments`, as the signature shows.

    Raises:
        TypeError: If the reference or the contrast is a DNA of another kind than the score takes.
        ValueError: If an argument is wrong, there are no images, one can't be read, or an argument
            does not fit the reference or the score.

    Example:
        >>> import numpy as np
        >>> grey = [np.full((40, 50, 3), level, np.uint8) for level in (250, 10, 120)]
        >>> rank(grey, np.zeros((40, 50, 3), np.uint8), layers=["block_0"]).names
        ['image 1', 'image 2', 'image 0']

    """
    arguments = Arguments(feature, num_folds=None, **options)
    with in_step(arguments.distributed):
        source = open_images(images, arguments)
        side = open_side(reference, arguments)
        names_of_emd = "num_bins", "ranges", "neuron_weights"
        of_emd = {"contrast": contrast, **{name: getattr(arguments, name) for name in names_of_emd}}
        score = _score_of(side, score, of_emd)
        pools = score == "contrast" and (contrast is None or (isinstance(contrast, str) and contrast == POOL))
        if score == "local" and isinstance(side, DNA):
            raise TypeError(f"Argument `reference` expected to be images for the score 'local', but got {side!r}")
        if score == "outlier" and isinstance(side, ImageSource):
            check_size(len(side))
        kind: Kind
        kind, of_kind = ("layer-gaussian", LayerGaussianDNA) if score in WORST_FIRST else ("histogram", HistogramDNA)
        given: list[Any] = [images, reference]
        opened = [source, _of_kind(side, of_kind, "reference")]
        if score == "contrast" and not pools:
            given.append(contrast)
            opened.append(_of_kind(open_side(cast("Source | DNA", contrast), arguments), of_kind, "contrast"))
        index, compared = _open_nearest(nearest, arguments), slice(1, len(opened))
        if isinstance(index, (ImageSource, ImageStream)):
            given.append(nearest)
            opened.append(index)
        opened = united(opened, given)
        sides = open_sides(opened, replace(arguments, num_folds=NUM_FOLDS if pools else None), [kind])
        if isinstance(index, Features):
            check_index(index, sides.extractor)
        elif index is not None:
            index = sides.source(len(opened) - 1, "An index")
        return _Run(sides).rank(sides.images[compared], score, pools, index)


def _score_of(reference: Images | DNA, score: Score | None, of_emd: Mapping[str, object]) -> Score:
    """Return the score to rank by; ValueError if it is unknown, or an argument is given that it does not take."""
    if score is None:
        is_one = isinstance(reference, ImageSource) and len(reference) == 1
        is_for_emd = is_one or isinstance(reference, HistogramDNA) or any(x is not None for x in of_emd.values())
        return "contrast" if is_for_emd else "outlier"
    if score not in get_args(Score):
        raise ValueError(f"Argument `score` expected to be one of {get_args(Score)}, but got {score!r}")
    if score in WORST_FIRST:
        check_left_out(score, **of_emd)
    elif score == "distance":
        check_left_out(score, contrast=of_emd["contrast"])
    return score


def _of_kind(side: Images | DNA, kind: type[DNA], name: str) -> Images | DNA:
    """Return the side; TypeError if it is a DNA of another kind."""
    if isinstance(side, DNA) and not isinstance(side, kind):
        raise TypeError(f"Argument `{name}` expected to be a {kind.__name__} or images, but got {side!r}")
    return side


def _open_nearest(nearest: Source | Features | None, arguments: Arguments) -> Images | Features | None:
    """Open the images or features of the index."""
    if nearest is None or isinstance(nearest, Features):
        return nearest
    if isinstance(nearest, (str, os.PathLike)) and _is_index(nearest):
        return Features.load(nearest)
    return open_images(nearest, arguments)


def _is_index(path: str | os.PathLike[str]) -> bool:
    """True if a path is named like a file of features, or is one; a ``.npz`` may also hold images."""
    return str(path).endswith(".features.npz") or (Path(path).is_file() and is_container(path))


def _digest_and_picture(image: Pixels) -> dict[str, Tensor]:
    return digest_note(image) | ({"pictures": small_picture(image)} if image.shape[2] in (1, 3) else {})


class _Ruler(NamedTuple):
    """Scorer of the ranked images, and what it compares them with."""

    scorer: ImageScorer
    mapper: ImageScorer
    references: Sequence[DNA]
    typical: Tensor | None = None
    p_value: float | None = None


class _Run:
    """Passes over the first of the sides, the images, for one ranking."""

    def __init__(self, sides: Sides) -> None:
        self.extractor, self.job, self.distributed = sides.extractor, sides.job, sides.arguments.distributed
        self.source = sides.source(0, "A ranking")
        neurons, weights = self.extractor.neurons, sides.arguments.neuron_weights
        self.weights = resolve_weights(weights, neurons, self.extractor.name, self.extractor.weights_digest)
        self.features = {"features": SpatialMeans.of_last_layer(neurons)}
        self.unreadable = {id(self.source): list[str]()}  # by source, so that one of two roles is told once

    def rank(
        self,
        sides: Sequence[Images | DNA],
        score: Score,
        pools: bool,
        index_source: Images | Features | None,
    ) -> Ranking:
        reference, *contrasts = (self._measured(side, score, features=side is index_source) for side in sides)
        indexed = None
        if index_source is None or isinstance(index_source, Features):
            index = index_source
        else:
            indexed = reference if index_source is sides[0] else self._rows(index_source, **self.features)
            index = indexed.features
        if score in WORST_FIRST:
            ruler = self._for_outliers(reference) if score == "outlier" else self._for_places(reference)
        else:
            ruler = self._for_emd(sides[0], [reference, *contrasts], pools)
        features = {} if index is None else self.features
        measured = self._rows(self.source, distances=Distances(ruler.scorer), **features)
        distances, in_reference = measured.rows["distances"], _found(measured, reference)
        count = ruler.references[0].num_images
        if in_reference is not None and score not in WORST_FIRST and count > 1:
            distances = torch.where(in_reference[:, None] < 0, distances, _left_out(distances, count))
        scores = contrasted(distances)
        if in_reference is not None and score == "outlier" and ruler.typical is not None:
            scores = torch.where(in_reference < 0, scores, ruler.typical[in_reference])
        order = scores.argsort(descending=score in WORST_FIRST, stable=True)
        names, numbers = ([values[i] for i in order.tolist()] for values in (measured.names, measured.numbers))
        nearest = None
        if index is not None and measured.features is not None:
            themselves = None if indexed is None else self._themselves(measured, indexed, index_source)
            nearest = find_nearest(measured.features, index, themselves).take(order)
        dnas = [replace(dna, folds=()) for dna in ruler.references]
        return Ranking(
            score=score,
            names=names,
            scores=scores[order],
            numbers=numbers,
            images=self.source,
            reference=dnas[0],
            mapper=ruler.mapper,
            unreadable=[line for lines in self.unreadable.values() for line in lines],
            distances=distances[order, 0] if len(dnas) > 1 else None,
            contrast=dnas[1] if len(dnas) > 1 else None,
            typical=ruler.typical,
            nearest=nearest,
            index=index,
            p_value=ruler.p_value,
            reference_images=sides[0] if isinstance(sides[0], ImageSource) else None,
            own=None if in_reference is None else in_reference[order] >= 0,
        )

    def _themselves(self, measured: Measured, indexed: Measured, index: object) -> Tensor | None:
        """Return the row of each image in an index of the source that the images are, or are a part of; else None."""
        if index is self.source:
            return torch.arange(len(measured.numbers))
        if not isinstance(index, ImageSource) or not isinstance(self.source, ImageSource):
            return None
        numbers, rows = self.source.numbers_in(index), {number: i for i, number in enumerate(indexed.numbers)}
        return None if numbers is None else torch.tensor([rows[numbers[i]] for i in measured.numbers])

    def _for_outliers(self, reference: Measured) -> _Ruler:
        neurons = self.extractor.neurons
        dna = cast("LayerGaussianDNA", reference.dnas["layer-gaussian"])
        scorer = OutlierScorer(gaussians_of(dna), self.extractor)
        typical = None
        if "means" in reference.rows and dna.num_images > 2:
            layers = layers_for_outliers(neurons)
            columns = torch.split(reference.rows["means"], [neurons[layer] for layer in layers], 1)
            typical = outlier_distance(dict(zip(layers, map(left_out_distances, columns), strict=True)))
        return _Ruler(scorer, self._places(reference) or scorer, [dna], typical)

    def _for_places(self, reference: Measured) -> _Ruler:
        scorer = self._places(reference)
        if scorer is None:
            raise ValueError(
                "The score 'local' takes images and a layer with a grid of positions, but there is none among"
                f" {', '.join(self.extractor.neurons)}"
            )
        # the extreme places of the reference are part of its covariance, so its own scores would be too low to compare
        return _Ruler(scorer, scorer, [reference.any])

    def _places(self, reference: Measured) -> LocalScorer | None:
        """Return the scorer of places; None if the reference is a DNA, or no layer has a grid of positions."""
        dna = reference.dnas.get("local")
        return None if dna is None else LocalScorer(cast("LayerGaussianDNA", dna), self.extractor)

    def _for_emd(self, side: Images | DNA, references: Sequence[Measured], pools: bool) -> _Ruler:
        histograms = [cast("HistogramDNA", measured.dnas["histogram"]) for measured in references]
        p_value = None
        if pools:
            pool = self._measure(self.job, self.source)
            histograms.append(cast("HistogramDNA", pool.dnas["histogram"]))
            p_value = DISTANCES["dna-emd"].result(histograms[0], histograms[1], self.weights).p_value
        scorer = Scorer(histograms, self.extractor, self.weights)
        return _Ruler(scorer, scorer, histograms, self._typical(side, scorer, histograms[0].num_images), p_value)

    def _measured(self, side: Images | DNA, score: Score, features: bool) -> Measured:
        if isinstance(side, DNA):
            return Measured({side.kind: side}, [])
        job, neurons = replace(self.job, notes=digest_note), self.extractor.neurons
        if score in WORST_FIRST:  # keep means, to leave images out, and the Gaussian of places
            job = job.also(means=SpatialMeans(neurons.take(neurons.positions(layers_for_outliers(neurons)))))
            if (layer := local_layer(self.extractor)) is not None:
                job = job.also(local=LocalMomentStatistic(self.extractor, layer))
        if features:
            job = replace(job.also(**self.features), notes=self._notes(self.features))
        return self._measure(job, side)

    def _rows(self, images: Images, **statistics: ImageRows) -> Measured:
        """Measure only statistics of single images."""
        return self._measure(Job(self.extractor, statistics, self.job.reading, notes=self._notes(statistics)), images)

    def _notes(self, statistics: Mapping[str, ImageRows]) -> Callable[[Any], dict[str, Tensor]]:
        return _digest_and_picture if "features" in statistics and self.extractor.example is None else digest_note

    def _measure(self, job: Job, images: Images) -> Measured:
        measured = measure(job, images, distributed=self.distributed)
        self.unreadable[id(images)] = measured.unreadable
        return measured

    def _typical(self, side: Images | DNA, scorer: Scorer, count: int) -> Tensor | None:
        """Score images of the reference, each against the other ``count - 1``; a sample if there are many."""
        if isinstance(side, (DNA, ImageStream)) or count < 2:
            return None
        job = Job(self.extractor, {"distances": Distances(scorer)}, self.job.reading)
        measured = measure(job, side.drawn(_MOST_TYPICAL), distributed=self.distributed)
        return contrasted(_left_out(measured.rows["distances"], count))


def _left_out(distances: Tensor, count: int) -> Tensor:
    """Return dna-emd of a reference's own images to its others, for the first of references ``(images, S)``.

    The reference's F contains 1/count of the image's own, so the distance to the others is proportional.
    """
    return distances * torch.tensor([count / (count - 1), 1.0])[: distances.shape[1]]


def _found(images: Measured, reference: Measured) -> Tensor | None:
    """Return the row of each image in the reference, by equal pixels, -1 for none; None if the reference is a DNA."""
    if "digest" not in reference.rows:
        return None
    of_reference, of_images = ([bytes(row) for row in side.rows["digest"].numpy()] for side in (reference, images))
    rows = {digest: i for i, digest in enumerate(of_reference)}
    return torch.tensor([rows.get(digest, -1) for digest in of_images])
