"""Rank single images: by how far they are from a reference's own images, from each other, or how close they are."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor

from torchmetrics_dna.checks import check_one_of
from torchmetrics_dna.comparisons.outliers import Outliers, find_outliers
from torchmetrics_dna.dna import DNA, HistogramDNA, LayerGaussianDNA
from torchmetrics_dna.dna.distances import DISTANCES, Kind
from torchmetrics_dna.dna.features import Features
from torchmetrics_dna.files.container import is_container
from torchmetrics_dna.functional.outlier_score import OutlierReference
from torchmetrics_dna.functional.outliers import (
    layers_for_outliers,
    left_out_distances,
    split_means,
)
from torchmetrics_dna.functional.permutation import NUM_FOLDS
from torchmetrics_dna.functional.realism import less_contrast
from torchmetrics_dna.images import Images, ImageSource, Source
from torchmetrics_dna.images.likeness import digest_note, small_picture
from torchmetrics_dna.images.noun import noun_of
from torchmetrics_dna.images.properties import LAYER
from torchmetrics_dna.images.sets import warn_of_left_out
from torchmetrics_dna.jobs.arguments import Arguments, taking
from torchmetrics_dna.jobs.job import MEANS, Job
from torchmetrics_dna.jobs.measure import Measured, measure
from torchmetrics_dna.jobs.plan import noting_properties
from torchmetrics_dna.jobs.processes import in_step
from torchmetrics_dna.jobs.sides import Sides, open_each, plan_sides
from torchmetrics_dna.options import argument
from torchmetrics_dna.singles.nearest import ALONE, check_index, find_nearest
from torchmetrics_dna.singles.ranking import WORST_FIRST, Ranking, Score
from torchmetrics_dna.statistics.outliers import (
    LocalMomentStatistic,
    LocalScorer,
    OutlierScorer,
    check_size,
    gaussians_of,
    local_layer,
    outlier_reference,
)
from torchmetrics_dna.statistics.rows import ImageRows, SpatialMeans
from torchmetrics_dna.statistics.scores import POOL, ImageScorer, Scorer, check_left_out
from torchmetrics_dna.words.reasons import extreme_in_words

if TYPE_CHECKING:
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images.pixels import Pixels
    from torchmetrics_dna.neurons.index import Neurons
    from torchmetrics_dna.statistics import Statistic
    from torchmetrics_dna.statistics.setup import Feature

_OF_HISTOGRAM = "Ranked by contrast: a histogram DNA allows no outlier score; make it by `--kind layer-gaussian`."
# Number of images of the reference whose dna-emd is measured for comparison.
_MOST_TYPICAL = 200


@taking("layers", "num_bins", "ranges", "neuron_weights", "reading", "distributed")
def rank(
    images: Source,
    reference: Source | DNA | None = None,
    feature: Feature | None = None,
    *,
    score: Score | None = None,
    contrast: Source | DNA | None = None,
    nearest: Source | Features | None = None,
    **options: Any,
) -> Ranking:
    """Rank images by how unusual each of them is for a reference, or by how close it is to the reference.

    Without a reference, each image is compared with all others. Outliers are flagged, and copies are found. The scores
    are those of :class:`DNARealism`, and one more:

    - ``"outlier"`` shows which images are outliers, the most unusual first. It needs no pool, and works for a single
      image.
    - ``"local"`` shows which images have an unusual place, the worst first. It finds small faults in images that are
      similar, such as textures or aligned pictures. A place is the mean over 3 x 3 positions of the layer whose
      positions are about 8 pixels apart. The score is the largest distance of a place from the places of the reference.
      The reference must be images.
    - ``"contrast"`` shows which images of a mixed pool are most similar to the reference, the best first.
    - ``"distance"`` is the dna-emd to the reference alone (sections 5.1 and 5.4 of the paper), the best first. Images
      with little contrast or detail are close to every set.

    Args:
        images: See :func:`make_dna`.
        reference: Images, even a single one. Or a DNA, or a path that :func:`load_dna` accepts: of kind
            ``"layer-gaussian"`` for outlier scores, else ``"histogram"``. If None, the images are compared with each
            other.
        feature: A :class:`DNAExtractor`, or its ``feature``; by default the extractor of the reference.
        score: The default is ``"outlier"``. It is ``"contrast"`` if the reference is a histogram DNA or a single image,
            or if an argument is given that only dna-emd has: ``contrast``, ``num_bins``, ``ranges`` or
            ``neuron_weights``.
        contrast: Images to contrast with, a DNA or its path. The default is ``"pool"``: all ranked images, which then
            run through the network twice.
        nearest: Images, their :class:`Features`, or the path of a file of these (``ranking.index.save``). Among them,
            the nearest neighbour of each image is found, to detect copies. If they are the reference's images, these
            are measured only once. Without a reference, the default is the images themselves.
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
    if reference is None:
        if nearest is None and (contrast is not None or score not in (None, "outlier")):
            raise ValueError(
                "Argument `reference` expected to be images or a DNA, but got None; give it, or leave out `score` and"
                " `contrast`, to find outliers within the set"
            )
        reference = images
        nearest = images if nearest is None else nearest
    requested = Arguments(feature, num_folds=None, **options)
    arguments = requested.skipping_unreadable()
    of_emd = {name: getattr(arguments, name) for name in ("num_bins", "ranges", "neuron_weights")}
    of_emd["contrast"] = contrast
    has_arguments_of_emd = any(value is not None for value in of_emd.values())
    if score is not None:
        check_one_of("score", score, Score)
        _check_takes(score, of_emd)
    reason_for_score = ""
    with in_step(arguments.distributed):
        index = _load_index(nearest)
        sources: dict[str, Any] = {"images": images, "reference": reference}
        if contrast is not None and not _is_pool(contrast):
            sources["contrast"] = contrast
        if index is None and nearest is not None:
            sources["index"] = nearest
        opened = dict(zip(sources, open_each(list(sources.values()), arguments), strict=True))
        if score is None:
            score = _default_score(opened["reference"], has_arguments_of_emd)
            if isinstance(opened["reference"], HistogramDNA) and not has_arguments_of_emd:
                reason_for_score = _OF_HISTOGRAM
        kind_of_dna: type[DNA] = LayerGaussianDNA if score in WORST_FIRST else HistogramDNA
        _check_roles(opened, score, kind_of_dna)
        has_pool = score == "contrast" and "contrast" not in opened
        if has_pool:
            opened["contrast"] = opened["images"]
        # Folds are for the test of a pool alone.
        arguments = replace(arguments, num_folds=NUM_FOLDS if has_pool else None)
        sides = plan_sides(list(opened.values()), arguments, [cast("Kind", kind_of_dna.kind)])
        if index is not None:
            check_index(index, sides.extractor)
        ranking = _ranked(sides, list(opened), score, has_pool, index)
    warn_of_left_out(ranking.unreadable, requested.reading)
    return replace(ranking, why=reason_for_score)


def _is_pool(contrast: Source | DNA) -> bool:
    """True if a contrast is the pool of all ranked images."""
    return isinstance(contrast, str) and contrast == POOL


def _load_index(nearest: Source | Features | None) -> Features | None:
    """Return an index that was passed, or load it from its file; None for images, and if nothing was passed."""
    if isinstance(nearest, Features):
        return nearest
    if not isinstance(nearest, (str, os.PathLike)):
        return None
    # A .npz may also hold images.
    is_file = Path(nearest).is_file() and is_container(nearest)
    if is_file or str(nearest).endswith(".features.npz"):
        return Features.load(nearest)
    return None


def _check_takes(score: Score, of_emd: Mapping[str, object]) -> None:
    """Raise ValueError if an argument of dna-emd is given that a score does not take."""
    if score in WORST_FIRST:
        check_left_out(score, **of_emd)
    elif score == "distance":
        check_left_out(score, contrast=of_emd["contrast"])


def _default_score(reference: Images | DNA, has_arguments_of_emd: bool) -> Score:
    """Return the score to rank by if none is given."""
    is_single_image = isinstance(reference, ImageSource) and len(reference) == 1
    if is_single_image or isinstance(reference, HistogramDNA) or has_arguments_of_emd:
        return "contrast"
    return "outlier"


def _check_roles(opened: Mapping[str, Images | DNA], score: Score, kind_of_dna: type[DNA]) -> None:
    """Check that what was opened for each role is what a score takes.

    Raises:
        TypeError: If the reference or the contrast is a DNA of another kind.
        ValueError: If there are too few images.

    """
    images = opened["images"]
    reference = opened["reference"]
    if score == "local" and isinstance(reference, DNA):
        raise TypeError(f"{argument('reference')} expected to be images for the score 'local', but got {reference!r}")
    if score == "outlier" and isinstance(reference, ImageSource):
        check_size(len(reference))
    elif score == "outlier" and isinstance(reference, LayerGaussianDNA):
        check_size(reference.num_images, reference.has_unknown_size)
    if not isinstance(images, DNA) and images.count == 1 and opened.get("index") is images:
        raise ValueError(ALONE)
    for name in ("reference", "contrast"):
        side = opened.get(name)
        if isinstance(side, DNA) and not isinstance(side, kind_of_dna):
            raise TypeError(f"{argument(name)} expected to be a {kind_of_dna.__name__} or images, but got {side!r}")


def _digest_and_picture(image: Pixels) -> dict[str, Tensor]:
    """Return the digest of an image and, if it is grey or RGB, its small picture."""
    notes = digest_note(image)
    if image.shape[2] in (1, 3):
        notes["pictures"] = small_picture(image)
    return notes


def _job(sides: Sides, statistics: Mapping[str, Statistic]) -> Job:
    """Return a job of these statistics that also notes what finds equal images, copies and outliers, where it may."""
    has_pictures = "features" in statistics and sides.extractor.example is None
    notes = [_digest_and_picture if has_pictures else digest_note]
    num_folds = sides.job.num_folds
    if all(statistic.by_image for statistic in statistics.values()):
        num_folds = None
    job = replace(sides.job, statistics=statistics, num_folds=num_folds, notes=notes)
    return noting_properties(job) if MEANS in statistics else job


def _with_roles(
    sides: Sides, roles: Sequence[str], score: Score, layer: str | None, features: Mapping[str, Statistic]
) -> Sides:
    """Return the sides with jobs that keep what their roles need; a side with several roles is measured once."""
    neurons = sides.extractor.neurons
    by_role: dict[str, dict[str, Statistic]] = {
        "contrast": {**sides.job.statistics},
        "reference": {**sides.job.statistics},
        "images": {},
        "index": {**features},
    }
    if score in WORST_FIRST and layer is not None:
        by_role["reference"]["local"] = LocalMomentStatistic(sides.extractor, layer)
    if score == "outlier":
        means = SpatialMeans(neurons, layers_for_outliers(neurons))
        by_role["reference"][MEANS] = means
        by_role["images"] = {MEANS: means, **features}
    by_key: dict[object, dict[str, Statistic]] = {}
    for role, key in zip(roles, sides.keys, strict=True):
        by_key.setdefault(key, {}).update(by_role[role])
    return replace(sides, jobs=[_job(sides, by_key[key]) for key in sides.keys])


def _ranked(sides: Sides, roles: Sequence[str], score: Score, has_pool: bool, index: Features | None) -> Ranking:
    """Rank the images, which are the first of the sides; each side has a role."""
    neurons = sides.extractor.neurons
    source = sides.source(0, "A ranking")
    if "index" in roles:
        sides.source(roles.index("index"), "An index")
    layer = _layer_of_local_score(sides.extractor, score)
    needs_features = index is not None or "index" in roles
    features = _statistic_of_features(neurons) if needs_features else {}
    sides = _with_roles(sides, roles, score, layer, features)
    measured = {role: sides.measured(k) for k, role in enumerate(roles) if role != "images"}
    reference = measured["reference"]
    dnas = [measured[role].first for role in ("reference", "contrast") if role in measured]

    scored = _scored(sides, reference, dnas, score, features, has_pool)
    rows_in_reference = scored.images.rows_in(reference)
    if rows_in_reference is not None:
        scored = _without_themselves(scored, rows_in_reference, dnas[0].num_images, score)
    order = scored.scores.argsort(descending=score in WORST_FIRST, stable=True)

    own_rows_of_index = None
    if "index" in measured:
        index = measured["index"].features
        source_of_index = sides.images[roles.index("index")]
        own_rows_of_index = _rows_of_themselves(source, source_of_index, scored.images, measured["index"])
    nearest = None
    if index is not None and scored.images.features is not None:
        nearest = find_nearest(scored.images.features, index, own_rows_of_index).take(order)

    outliers = None
    if score == "outlier" and rows_in_reference is not None:
        outliers = find_outliers(
            reference,
            scored.images,
            source,
            neurons=neurons,
            rows=rows_in_reference.tolist(),
            reference=scored.of_reference,
        )
    numbers = [scored.images.numbers[i] for i in order.tolist()]
    dnas = [replace(dna, folds=()) for dna in dnas]
    has_contrast = len(dnas) > 1
    reference_images = sides.images[1]
    return Ranking(
        score=score,
        names=[scored.images.names[i] for i in order.tolist()],
        scores=scored.scores[order],
        numbers=numbers,
        images=source,
        reference=dnas[0],
        mapper=scored.mapper,
        unreadable=_unreadable(sides, roles, {**measured, "images": scored.images}),
        distances=scored.distances[order, 0] if has_contrast else None,
        contrast=dnas[1] if has_contrast else None,
        typical=scored.typical,
        nearest=nearest,
        index=index,
        p_value=scored.p_value,
        noun=noun_of(dnas[0]),
        reference_images=reference_images if isinstance(reference_images, ImageSource) else None,
        own=None if rows_in_reference is None else (rows_in_reference >= 0)[order],
        outliers=outliers,
        most_extreme=None if outliers is None else _most_extreme(outliers, numbers),
    )


def _layer_of_local_score(extractor: DNAExtractor, score: Score) -> str | None:
    """Return the layer of the local score; None if no layer has a grid, or if this score needs none.

    Raises:
        ValueError: If the score is the local score, and no layer has a grid.

    """
    if score not in WORST_FIRST:
        return None
    layer = local_layer(extractor)
    if score == "local" and layer is None:
        raise ValueError(
            "The score 'local' takes a layer with a grid of positions, but there is none among"
            f" {', '.join(extractor.neurons)}"
        )
    return layer


def _statistic_of_features(neurons: Neurons) -> dict[str, Statistic]:
    """Return the statistic that finds the nearest images: spatial means of the last layer."""
    last_layer = [*neurons][-1]
    return {"features": SpatialMeans(neurons, [last_layer])}


def _unreadable(sides: Sides, roles: Sequence[str], measured: Mapping[str, Measured]) -> list[str]:
    """Return a line for each image of any side that could not be read."""
    # A side with several roles was measured once, and its lines appear once.
    by_key: dict[object, Sequence[str]] = {}
    for key, role in zip(sides.keys, roles, strict=True):
        by_key[key] = measured[role].unreadable
    return [line for lines in by_key.values() for line in lines]


class _Scored(NamedTuple):
    """Images that were measured and scored.

    Attributes:
        images: The images.
        distances: Scores against the reference and any contrast, ``(images, references)``.
        scores: Scores by which the images are ranked, ``(images,)``.
        mapper: Scorer whose maps show where images are off.
        typical: Scores of the reference's own images, each left out; None if there are none.
        p_value: P-value of the test that pool and reference differ; None without a test.
        of_reference: Reference of outlier scores; None for other scores.

    """

    images: Measured
    distances: Tensor
    scores: Tensor
    mapper: ImageScorer
    typical: Tensor | None = None
    p_value: float | None = None
    of_reference: OutlierReference | None = None


def _scored(
    sides: Sides,
    reference: Measured,
    dnas: Sequence[DNA],
    score: Score,
    features: Mapping[str, Statistic],
    has_pool: bool,
) -> _Scored:
    """Measure and score the images."""
    local: ImageScorer | None = None
    if "local" in reference.dnas:
        local = LocalScorer(cast("LayerGaussianDNA", reference.dnas["local"]), sides.extractor)
    if score == "outlier":
        return _scored_by_outliers(sides, reference, local)
    return _scored_in_a_pass(sides, dnas, local, features, has_pool)


def _without_themselves(scored: _Scored, rows_in_reference: Tensor, num_reference: int, score: Score) -> _Scored:
    """Replace the scores of images that are in the reference by their scores relative to its other images.

    Args:
        scored: The scored images.
        rows_in_reference: Row of each image in the reference, ``(images,)``, or -1 if it is not in the reference.
        num_reference: Number of images of the reference.
        score: Name of the score.

    """
    is_new = rows_in_reference < 0
    if score in ("contrast", "distance") and num_reference > 1:
        to_others = _left_out(scored.distances, num_reference)
        distances = torch.where(is_new[:, None], scored.distances, to_others)
        return scored._replace(distances=distances, scores=less_contrast(distances.T))
    if score == "outlier":
        assert scored.typical is not None
        own_scores = scored.typical[rows_in_reference]
        return scored._replace(scores=torch.where(is_new, scored.scores, own_scores))
    return scored


def _scored_by_outliers(sides: Sides, reference: Measured, local: ImageScorer | None) -> _Scored:
    """Score the images by outlier scores, from spatial means and properties that were kept."""
    neurons = sides.extractor.neurons
    of_reference = _outlier_reference(reference, neurons)
    mapper = local or OutlierScorer(of_reference, sides.extractor)
    images = sides.measured(0)
    means = split_means(images.rows[MEANS], neurons)
    distances = of_reference.scores(means, images.rows.get(LAYER))[:, None]
    scores = less_contrast(distances.T)
    return _Scored(images, distances, scores, mapper, of_reference.own_scores, of_reference=of_reference)


def _scored_in_a_pass(
    sides: Sides,
    dnas: Sequence[DNA],
    local: ImageScorer | None,
    features: Mapping[str, Statistic],
    has_pool: bool,
) -> _Scored:
    """Score the images in a pass over them: by the local scorer, or else by distances to histograms of references."""
    typical = None
    p_value = None
    mapper = local
    if mapper is None:
        histograms = cast("list[HistogramDNA]", dnas)
        mapper = Scorer(histograms, sides.extractor, sides.plan.averaging.weights)
        if has_pool:
            p_value = DISTANCES["dna-emd"].result(histograms[0], histograms[1], sides.plan.averaging).p_value
        typical = _typical_distances(sides, mapper, dnas[0].num_images)
    job = _job(sides, {**_distances(mapper), **features})
    images = measure(job, sides.source(0, "A ranking"), distributed=sides.plan.arguments.distributed)
    distances = images.rows["distances"]
    return _Scored(images, distances, less_contrast(distances.T), mapper, typical, p_value)


def _typical_distances(sides: Sides, scorer: Scorer, num_images: int) -> Tensor | None:
    """Return scores of a sample of the reference's own images, each left out; None for a DNA, stream or single image.

    Args:
        sides: The sides, of which the second is the reference.
        scorer: The scorer of distances.
        num_images: Number of images of the reference.

    """
    reference_images = sides.images[1]
    if not isinstance(reference_images, ImageSource) or num_images < 2:
        return None
    job = Job(sides.extractor, _distances(scorer), sides.job.reading)
    sample = reference_images.drawn(_MOST_TYPICAL)
    distances = measure(job, sample, distributed=sides.plan.arguments.distributed).rows["distances"]
    return less_contrast(_left_out(distances, num_images).T)


def _most_extreme(outliers: Outliers, numbers: Sequence[int]) -> list[str]:
    """Say where each image is most extreme; empty for the reference's own, which are only compared with each other."""
    extremes = dict(zip(outliers.numbers, map(extreme_in_words, outliers.extremes), strict=True))
    return [extremes.get(number, "") for number in numbers]


def _outlier_reference(measured: Measured, neurons: Neurons) -> OutlierReference:
    """Return what images are compared with: all images of the reference, or the sample of a DNA."""
    dna = cast("LayerGaussianDNA", measured.first)
    if MEANS not in measured.rows:
        return outlier_reference(dna)
    means = split_means(measured.rows[MEANS], neurons)
    by_layer = dna.by_layer()
    own = {layer: left_out_distances(values, (*by_layer[layer], dna.num_images)) for layer, values in means.items()}
    return OutlierReference(gaussians_of(dna), own, measured.rows.get(LAYER))


def _distances(scorer: ImageScorer) -> dict[str, Statistic]:
    """Return the statistic of the scores of images against the references, ``(images, references)``."""
    return {"distances": ImageRows(lambda activations: scorer(activations).T)}


def _left_out(distances: Tensor, count: int) -> Tensor:
    """Return dna-emd of images that are among the ``count`` of the first reference to its others.

    The shares of the reference are the mean of those of its images. So without an image they are further from it, in
    the proportion of ``count / (count - 1)``. Distances have the shape ``(images, references)``.
    """
    factors = torch.tensor([count / (count - 1), 1.0])
    return distances * factors[: distances.shape[1]]


def _rows_of_themselves(
    source: Images | DNA, source_of_index: Images | DNA, images: Measured, index: Measured
) -> Tensor | None:
    """Return the row of each image in an index of the source that the images are, or are a part of; else None."""
    if source_of_index is source:
        return torch.arange(len(images.numbers))
    if not isinstance(source_of_index, ImageSource) or not isinstance(source, ImageSource):
        return None
    numbers = source.numbers_in(source_of_index)
    if numbers is None:
        return None
    rows = {number: row for row, number in enumerate(index.numbers)}
    return torch.tensor([rows[numbers[i]] for i in images.numbers])
