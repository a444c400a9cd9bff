"""Rank single images, by how unusual they are for a reference or for their own set, or by how close they are."""

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
from torchmetrics_dna.singles.nearest import ALONE, Nearest, check_index, find_nearest
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
    from torchmetrics_dna.images.pixels import Pixels
    from torchmetrics_dna.neurons.index import Neurons
    from torchmetrics_dna.statistics import Statistic
    from torchmetrics_dna.statistics.setup import Feature

_WHY_CONTRAST = "Ranked by contrast: a histogram DNA allows no outlier score; make it by `--kind layer-gaussian`."
# Largest number of images of the reference whose scores are computed for comparison.
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
    """Rank images by how unusual they are for a reference, or by how close they are to the reference.

    Without a reference, each image is compared with all others. Outliers are then flagged, and copies are found.

    :class:`DNARealism` has the same scores, except for ``"local"``:

    - ``"outlier"`` shows which images are outliers. The most unusual image comes first. This score needs no pool, and
      works for a single image.
    - ``"local"`` shows which images have an unusual place. The worst image comes first. This score finds small faults
      in images that are similar, such as textures or aligned pictures. A place is the mean over 3 x 3 positions of the
      layer whose positions are about 8 pixels apart. The score is the largest distance of a place from the places of
      the reference. The reference must be images.
    - ``"contrast"`` shows which images of a mixed pool are most similar to the reference. The best image comes first.
    - ``"distance"`` is the dna-emd to the reference alone (sections 5.1 and 5.4 of the paper). The best image comes
      first. Images with little contrast or detail are close to every set.

    Args:
        images: Images to rank, in any form that :func:`make_dna` accepts.
        reference: Images (one is enough), a DNA, or a path that :func:`load_dna` accepts. A DNA must be of kind
            ``"layer-gaussian"`` for outlier scores, and of kind ``"histogram"`` for contrasts and distances. If None,
            the images are compared with each other.
        feature: A :class:`DNAExtractor`, or its ``feature``. The default is the extractor of the reference.
        score: The score to rank by. By default, it is ``"contrast"`` if the reference is a histogram DNA or a single
            image, or if one of the arguments of dna-emd is passed: ``contrast``, ``num_bins``, ``ranges`` or
            ``neuron_weights``. Otherwise, it is ``"outlier"``.
        contrast: Images to contrast with, a DNA, or the path of a DNA. The default is ``"pool"``, all ranked images.
            The ranked images then run through the network twice.
        nearest: Images, their :class:`Features`, or the path of a file of features (``ranking.index.save``). The
            nearest neighbour of each ranked image is searched among these images, to detect copies. Images that are
            also the reference are measured only once. Without a reference, the default is the ranked images.
        options: Further fields of :class:`Arguments`, as the signature shows.

    Returns:
        The ranking.

    Raises:
        TypeError: If the reference or the contrast is a DNA of a kind that the score does not support.
        ValueError: If an argument is wrong, there are no images, an image can't be read, or an argument
            does not fit the reference or the score.

    Example:
        >>> import numpy as np
        >>> grey = [np.full((40, 50, 3), level, np.uint8) for level in (250, 10, 120)]
        >>> rank(grey, np.zeros((40, 50, 3), np.uint8), layers=["block_0"]).names
        ['image 1', 'image 2', 'image 0']

    """
    if reference is None:
        _check_without_reference(score, contrast, nearest)
        reference = images
        if nearest is None:
            nearest = images
    requested = Arguments(feature, num_folds=None, **options)
    arguments = requested.skipping_unreadable()
    # Arguments that only scores by dna-emd support.
    emd_arguments = {name: getattr(arguments, name) for name in ("num_bins", "ranges", "neuron_weights")}
    emd_arguments["contrast"] = contrast
    if score is not None:
        check_one_of("score", score, Score)
        _check_supports(score, emd_arguments)
    with in_step(arguments.distributed):
        index = _load_index(nearest)
        sources: dict[str, Any] = {"images": images, "reference": reference}
        if contrast is not None and not _is_pool(contrast):
            sources["contrast"] = contrast
        if nearest is not None and index is None:
            # The index is images, so its features have to be computed.
            sources["index"] = nearest
        opened = dict(zip(sources, open_each(list(sources.values()), arguments), strict=True))
        reason_for_score = ""
        if score is None:
            score, reason_for_score = _default_score(opened["reference"], emd_arguments)
        ranking = _rank_opened(opened, score, index, arguments)
    warn_of_left_out(ranking.unreadable, requested.reading)
    return replace(ranking, why=reason_for_score)


def _check_without_reference(
    score: Score | None, contrast: Source | DNA | None, nearest: Source | Features | None
) -> None:
    """Raise ValueError if an argument requires a reference, but there is none."""
    has_other_score = score is not None and score != "outlier"
    if nearest is None and (contrast is not None or has_other_score):
        raise ValueError(
            "Argument `reference` expected to be images or a DNA, but got None; pass it, or omit `score` and"
            " `contrast`, to find outliers within the set"
        )


def _is_pool(contrast: Source | DNA) -> bool:
    """True if a contrast is the pool of all ranked images."""
    return isinstance(contrast, str) and contrast == POOL


def _load_index(nearest: Source | Features | None) -> Features | None:
    """Return an index that was passed, or load the index from a file; None for images, and if nothing was passed."""
    if isinstance(nearest, Features):
        return nearest
    if not isinstance(nearest, (str, os.PathLike)):
        return None
    # A .npz file may also contain images.
    is_file = Path(nearest).is_file() and is_container(nearest)
    if is_file or str(nearest).endswith(".features.npz"):
        return Features.load(nearest)
    return None


def _check_supports(score: Score, emd_arguments: Mapping[str, object]) -> None:
    """Raise ValueError if an argument of dna-emd is passed that a score does not support."""
    if score in WORST_FIRST:
        check_left_out(score, **emd_arguments)
    elif score == "distance":
        check_left_out(score, contrast=emd_arguments["contrast"])


def _default_score(reference: Images | DNA, emd_arguments: Mapping[str, object]) -> tuple[Score, str]:
    """Return the score to rank by if none is passed, and the reason for it if users may expect another score."""
    has_emd_arguments = any(value is not None for value in emd_arguments.values())
    if has_emd_arguments:
        return "contrast", ""
    if isinstance(reference, HistogramDNA):
        return "contrast", _WHY_CONTRAST
    is_single_image = isinstance(reference, ImageSource) and len(reference) == 1
    if is_single_image:
        return "contrast", ""
    return "outlier", ""


def _rank_opened(
    opened: Mapping[str, Images | DNA], score: Score, index: Features | None, arguments: Arguments
) -> Ranking:
    """Check and prepare the opened sides, and rank the images.

    Args:
        opened: Images or a DNA for each role: images, reference, and perhaps contrast and index.
        score: The score to rank by.
        index: Features of an index that was passed or loaded; None if the index is images, and if there is none.
        arguments: The arguments of :func:`rank`.

    """
    kind_of_dna: type[DNA] = LayerGaussianDNA if score in WORST_FIRST else HistogramDNA
    _check_kinds(opened, score, kind_of_dna)
    if score == "outlier":
        _check_size_of_reference(opened["reference"])
    _check_not_alone(opened)
    sources = dict(opened)
    has_pool = score == "contrast" and "contrast" not in opened
    if has_pool:
        sources["contrast"] = opened["images"]
    # Only the test of a pool needs folds.
    arguments_with_folds = replace(arguments, num_folds=NUM_FOLDS if has_pool else None)
    sides = plan_sides(list(sources.values()), arguments_with_folds, [cast("Kind", kind_of_dna.kind)])
    if index is not None:
        check_index(index, sides.extractor)
    return _ranked(_SidesByRole(sides, list(sources)), score, has_pool, index)


def _check_kinds(opened: Mapping[str, Images | DNA], score: Score, kind_of_dna: type[DNA]) -> None:
    """Raise TypeError if the reference or the contrast is a DNA of a kind that the score does not support."""
    reference = opened["reference"]
    if score == "local" and isinstance(reference, DNA):
        raise TypeError(f"{argument('reference')} expected to be images for the score 'local', but got {reference!r}")
    for name in ("reference", "contrast"):
        side = opened.get(name)
        if isinstance(side, DNA) and not isinstance(side, kind_of_dna):
            raise TypeError(f"{argument(name)} expected to be a {kind_of_dna.__name__} or images, but got {side!r}")


def _check_size_of_reference(reference: Images | DNA) -> None:
    """Check that a reference has enough images for outlier scores.

    Raises:
        ValueError: If the number of images is unknown.
        TooFewImagesError: If there are fewer than three images.

    """
    if isinstance(reference, ImageSource):
        check_size(len(reference))
    elif isinstance(reference, LayerGaussianDNA):
        check_size(reference.num_images, reference.has_unknown_size)


def _check_not_alone(opened: Mapping[str, Images | DNA]) -> None:
    """Raise ValueError if a single image is to be compared with itself only."""
    images = opened["images"]
    # Without other images to search, the closest image is searched among the ranked images themselves.
    is_own_index = opened.get("index") is images
    if is_own_index and not isinstance(images, DNA) and images.count == 1:
        raise ValueError(ALONE)


def _digest_and_picture(image: Pixels) -> dict[str, Tensor]:
    """Return the digest of an image and, if it is grey or RGB, its small picture."""
    notes = digest_note(image)
    if image.shape[2] in (1, 3):
        notes["pictures"] = small_picture(image)
    return notes


class _SidesByRole(NamedTuple):
    """Sides that were opened, each with its role.

    Attributes:
        sides: The sides. Sides with equal keys are measured once.
        roles: Role of each side: "images", "reference", and perhaps "contrast" and "index".

    """

    sides: Sides
    roles: Sequence[str]

    def opened(self, role: str) -> Images | DNA:
        """Return the images or the DNA of a role."""
        return self.sides.images[self.roles.index(role)]

    def source(self, role: str, what: str) -> Images:
        """Return the images of a role; ValueError if the side is a DNA. See :meth:`Sides.source`."""
        return self.sides.source(self.roles.index(role), what)

    def measured(self, role: str) -> Measured:
        """Measure the side of a role, or return its DNA."""
        return self.sides.measured(self.roles.index(role))


def _job(sides: Sides, statistics: Mapping[str, Statistic]) -> Job:
    """Return a job that computes statistics, and also keeps notes on each image.

    The notes are digests to find equal images, small pictures to find copies, and properties to find outliers.
    """
    has_pictures = "features" in statistics and sides.extractor.example is None
    notes = [_digest_and_picture if has_pictures else digest_note]
    num_folds = sides.job.num_folds
    if all(statistic.by_image for statistic in statistics.values()):
        num_folds = None
    job = replace(sides.job, statistics=statistics, num_folds=num_folds, notes=notes)
    return noting_properties(job) if MEANS in statistics else job


def _with_jobs(by_role: _SidesByRole, statistics_by_role: Mapping[str, Mapping[str, Statistic]]) -> _SidesByRole:
    """Return the sides with jobs that compute the statistics of their roles."""
    sides, roles = by_role
    # A side with several roles is measured once, with the statistics of all its roles.
    statistics_by_key: dict[object, dict[str, Statistic]] = {}
    for role, key in zip(roles, sides.keys, strict=True):
        statistics_by_key.setdefault(key, {}).update(statistics_by_role[role])
    jobs = [_job(sides, statistics_by_key[key]) for key in sides.keys]
    return by_role._replace(sides=replace(sides, jobs=jobs))


def _statistics_by_role(
    sides: Sides, score: Score, layer: str | None, features: Mapping[str, Statistic]
) -> dict[str, dict[str, Statistic]]:
    """Return the statistics that each role requires.

    Args:
        sides: The sides.
        score: The score to rank by.
        layer: Layer whose positions are compared, for outlier and local scores; None without it.
        features: Statistic of the features that are looked up in an index; empty without an index.

    """
    statistics_by_role: dict[str, dict[str, Statistic]] = {
        "contrast": dict(sides.job.statistics),
        "reference": dict(sides.job.statistics),
        "images": {},
        "index": dict(features),
    }
    if score in WORST_FIRST and layer is not None:
        statistics_by_role["reference"]["local"] = LocalMomentStatistic(sides.extractor, layer)
    if score == "outlier":
        neurons = sides.extractor.neurons
        means = SpatialMeans(neurons, layers_for_outliers(neurons))
        statistics_by_role["reference"][MEANS] = means
        # For other scores, the images are measured by the pass that scores them.
        statistics_by_role["images"] = {MEANS: means, **features}
    return statistics_by_role


def _ranked(by_role: _SidesByRole, score: Score, has_pool: bool, index: Features | None) -> Ranking:
    """Measure the sides, score the images, and return them in the order of their scores."""
    _check_are_images(by_role)
    layer = local_layer(by_role.sides.extractor) if score in WORST_FIRST else None
    if score == "local" and layer is None:
        layers = ", ".join(by_role.sides.extractor.neurons)
        raise ValueError(f"The score 'local' takes a layer with a grid of positions, but there is none among {layers}")
    features = _features_to_keep(by_role, index)
    by_role = _with_jobs(by_role, _statistics_by_role(by_role.sides, score, layer, features))
    measured = {role: by_role.measured(role) for role in by_role.roles if role != "images"}
    scored = _scored(by_role.sides, measured, score, features, has_pool)
    own_rows = scored.images.rows_in(measured["reference"])
    if own_rows is not None:
        scored = _compare_own_with_others(scored, own_rows, score, measured["reference"].first.num_images)
    return _in_order(by_role, measured, scored, score, own_rows, index)


def _in_order(
    by_role: _SidesByRole,
    measured: Mapping[str, Measured],
    scored: _Scored,
    score: Score,
    own_rows: Tensor | None,
    index: Features | None,
) -> Ranking:
    """Return the ranking of the images in the order of their scores, with their nearest neighbours and outliers.

    Args:
        by_role: The sides.
        measured: The other sides by role, measured.
        scored: The images, scored.
        score: The score.
        own_rows: Row of each image in the reference; -1 for images that are not the reference's own. None if the
            reference is a DNA.
        index: Features of an index that was passed or loaded; None if the index is images, and if there is none.

    """
    images = scored.images
    reference = measured["reference"]
    contrast = measured.get("contrast")
    reference_images = by_role.opened("reference")
    scores = less_contrast(scored.distances.T)
    order = scores.argsort(descending=score in WORST_FIRST, stable=True)
    numbers = [images.numbers[i] for i in order.tolist()]
    features_of_index = measured["index"].features if "index" in measured else index
    nearest = _nearest_in_index(by_role, images, features_of_index, measured.get("index"))
    outliers = _outliers(by_role, scored, reference, own_rows)
    return Ranking(
        score=score,
        names=[images.names[i] for i in order.tolist()],
        scores=scores[order],
        numbers=numbers,
        unreadable=_unreadable(by_role, {**measured, "images": images}),
        distances=None if contrast is None else scored.distances[order, 0],
        typical=scored.typical,
        nearest=None if nearest is None else nearest.take(order),
        p_value=scored.p_value,
        images=by_role.source("images", "A ranking"),
        reference=_without_folds(reference.first),
        contrast=None if contrast is None else _without_folds(contrast.first),
        index=None if nearest is None else features_of_index,
        mapper=scored.mapper,
        reference_images=reference_images if isinstance(reference_images, ImageSource) else None,
        own=None if own_rows is None else (own_rows >= 0)[order],
        outliers=outliers,
        most_extreme=None if outliers is None else _most_extreme(outliers, numbers),
        noun=noun_of(reference.first),
    )


def _without_folds(dna: DNA) -> DNA:
    """Return a DNA without its folds, which take most of the memory."""
    return replace(dna, folds=())


def _check_are_images(by_role: _SidesByRole) -> None:
    """Raise ValueError if the side to rank or the index is a DNA."""
    by_role.source("images", "A ranking")
    if "index" in by_role.roles:
        by_role.source("index", "An index")


def _features_to_keep(by_role: _SidesByRole, index: Features | None) -> dict[str, Statistic]:
    """Return the statistic of the features that are looked up in an index; empty without an index."""
    if index is None and "index" not in by_role.roles:
        return {}
    neurons = by_role.sides.extractor.neurons
    last_layer = list(neurons)[-1]
    return {"features": SpatialMeans(neurons, [last_layer])}


def _compare_own_with_others(scored: _Scored, own_rows: Tensor, score: Score, num_images: int) -> _Scored:
    """Replace the distances of the reference's own images by distances to the other images of the reference.

    Args:
        scored: The scored images.
        own_rows: Row of each image in the reference; -1 for images that are not the reference's own.
        score: The score.
        num_images: Number of images of the reference.

    """
    # Local scores are not computed without an image. A single image has no other images to be compared with.
    if score == "local" or num_images < 2:
        return scored
    if score == "outlier":
        assert scored.typical is not None
        to_others = scored.typical[own_rows][:, None]
    else:
        to_others = _left_out(scored.distances, num_images)
    is_own = (own_rows >= 0)[:, None]
    return scored._replace(distances=torch.where(is_own, to_others, scored.distances))


def _outliers(by_role: _SidesByRole, scored: _Scored, reference: Measured, own_rows: Tensor | None) -> Outliers | None:
    """Find outliers among the images; None for scores other than outlier scores, or without images of the reference."""
    if scored.reference is None or own_rows is None:
        return None
    return find_outliers(
        reference,
        scored.images,
        by_role.opened("images"),
        neurons=by_role.sides.extractor.neurons,
        rows=own_rows.tolist(),
        reference=scored.reference,
    )


def _nearest_in_index(
    by_role: _SidesByRole, images: Measured, index: Features | None, measured_index: Measured | None
) -> Nearest | None:
    """Return the nearest neighbour of each image in an index; None without an index.

    Args:
        by_role: The sides.
        images: The images, measured.
        index: Features of the index.
        measured_index: The images of the index, measured; None if the features were passed or loaded.

    """
    if index is None or images.features is None:
        return None
    own_rows = None
    if measured_index is not None:
        own_rows = _rows_in_index(by_role.opened("images"), by_role.opened("index"), images, measured_index)
    return find_nearest(images.features, index, own_rows)


def _unreadable(by_role: _SidesByRole, measured: Mapping[str, Measured]) -> list[str]:
    """Return a line for each image of any side that could not be read."""
    # A side with several roles was measured once, so its lines appear once.
    lines_by_key: dict[object, Sequence[str]] = {}
    for key, role in zip(by_role.sides.keys, by_role.roles, strict=True):
        lines_by_key[key] = measured[role].unreadable
    unreadable: list[str] = []
    for lines in lines_by_key.values():
        unreadable += lines
    return unreadable


class _Scored(NamedTuple):
    """Images that were measured and scored.

    Attributes:
        images: The images.
        distances: Scores against the reference and any contrast, ``(images, references)``.
        mapper: Scorer whose heat maps show where an image is unlike the reference.
        typical: Scores of the reference's own images. Each image is scored against the other images of the reference.
            None if there are no such scores.
        p_value: P-value of the test that pool and reference differ; None without a test.
        reference: Reference of outlier scores; None for other scores.

    """

    images: Measured
    distances: Tensor
    mapper: ImageScorer
    typical: Tensor | None = None
    p_value: float | None = None
    reference: OutlierReference | None = None


def _scored(
    sides: Sides, measured: Mapping[str, Measured], score: Score, features: Mapping[str, Statistic], has_pool: bool
) -> _Scored:
    """Score the images against the reference, and against any contrast."""
    reference = measured["reference"]
    local: ImageScorer | None = None
    if "local" in reference.dnas:
        local = LocalScorer(cast("LayerGaussianDNA", reference.dnas["local"]), sides.extractor)
    if score == "outlier":
        return _scored_by_outliers(sides, reference, local)
    if local is not None:
        return _scored_in_a_pass(sides, local, features)
    dnas = [measured[role].first for role in ("reference", "contrast") if role in measured]
    return _scored_by_distances(sides, cast("list[HistogramDNA]", dnas), features, has_pool)


def _scored_by_outliers(sides: Sides, reference: Measured, local: ImageScorer | None) -> _Scored:
    """Compute the outlier scores of the images, from their spatial means and properties."""
    neurons = sides.extractor.neurons
    scoring = _outlier_reference(reference, neurons)
    mapper = local or OutlierScorer(scoring, sides.extractor)
    images = sides.measured(0)
    means = split_means(images.rows[MEANS], neurons)
    scores = scoring.scores(means, images.rows.get(LAYER))
    return _Scored(images, scores[:, None], mapper, scoring.own_scores, reference=scoring)


def _scored_by_distances(
    sides: Sides, histograms: Sequence[HistogramDNA], features: Mapping[str, Statistic], has_pool: bool
) -> _Scored:
    """Compute the dna-emd of the images to the reference and to any contrast.

    Args:
        sides: The sides. The first side is the images, and the second is the reference.
        histograms: DNA of the reference, and of any contrast.
        features: Statistic of the features that are looked up in an index; empty without an index.
        has_pool: Whether the contrast is the pool of all ranked images.

    """
    reference = histograms[0]
    scorer = Scorer(histograms, sides.extractor, sides.plan.averaging.weights)
    p_value = None
    if has_pool:
        p_value = DISTANCES["dna-emd"].result(reference, histograms[1], sides.plan.averaging).p_value
    typical = _typical_distances(sides, scorer, reference.num_images)
    return _scored_in_a_pass(sides, scorer, features)._replace(typical=typical, p_value=p_value)


def _scored_in_a_pass(sides: Sides, scorer: ImageScorer, features: Mapping[str, Statistic]) -> _Scored:
    """Score the images, and compute any features, in one pass over the images."""
    job = _job(sides, {**_distances(scorer), **features})
    images = measure(job, sides.source(0, "A ranking"), distributed=sides.plan.arguments.distributed)
    return _Scored(images, images.rows["distances"], scorer)


def _typical_distances(sides: Sides, scorer: Scorer, num_images: int) -> Tensor | None:
    """Score a sample of the reference's own images, each against the other images of the reference.

    Args:
        sides: The sides. The second side is the reference.
        scorer: The scorer of distances.
        num_images: Number of images of the reference.

    Returns:
        The scores. None if the reference is a DNA, a stream or a single image.

    """
    reference_images = sides.images[1]
    if not isinstance(reference_images, ImageSource) or num_images < 2:
        return None
    job = Job(sides.extractor, _distances(scorer), sides.job.reading)
    sample = reference_images.drawn(_MOST_TYPICAL)
    distances = measure(job, sample, distributed=sides.plan.arguments.distributed).rows["distances"]
    return less_contrast(_left_out(distances, num_images).T)


def _most_extreme(outliers: Outliers, numbers: Sequence[int]) -> list[str]:
    """Return the property or layer in which each image is most extreme, in words.

    The text is empty for images that were not compared with the reference, because they are the reference's own.
    """
    extremes = dict(zip(outliers.numbers, map(extreme_in_words, outliers.extremes), strict=True))
    return [extremes.get(number, "") for number in numbers]


def _outlier_reference(measured: Measured, neurons: Neurons) -> OutlierReference:
    """Return the reference of outlier scores, made from all images of the reference, or from the sample in a DNA."""
    dna = cast("LayerGaussianDNA", measured.first)
    if MEANS not in measured.rows:
        return outlier_reference(dna)
    means = split_means(measured.rows[MEANS], neurons)
    by_layer = dna.by_layer()
    own_distances: dict[str, Tensor] = {}
    for layer, means_of_layer in means.items():
        mean, covariance = by_layer[layer]
        own_distances[layer] = left_out_distances(means_of_layer, (mean, covariance, dna.num_images))
    return OutlierReference(gaussians_of(dna), own_distances, measured.rows.get(LAYER))


def _distances(scorer: ImageScorer) -> dict[str, Statistic]:
    """Return the statistic of the scores of images against the references, ``(images, references)``."""
    return {"distances": ImageRows(lambda activations: scorer(activations).T)}


def _left_out(distances: Tensor, count: int) -> Tensor:
    """Convert the dna-emd of images of the reference to the dna-emd to the other images of the reference.

    The histogram of the reference is the mean of the histograms of its images. If an image is left out of this mean,
    its distance from the mean grows by the factor ``count / (count - 1)``.

    Args:
        distances: Distances of images to the reference and any contrast, ``(images, references)``. All images are
            images of the reference.
        count: Number of images of the reference.

    """
    factors = torch.tensor([count / (count - 1), 1.0])
    return distances * factors[: distances.shape[1]]


def _rows_in_index(
    source: Images | DNA, source_of_index: Images | DNA, images: Measured, index: Measured
) -> Tensor | None:
    """Return the row of each image in an index; None unless the images are those of the index, or some of them."""
    if source_of_index is source:
        return torch.arange(len(images.numbers))
    if not isinstance(source_of_index, ImageSource) or not isinstance(source, ImageSource):
        return None
    numbers = source.numbers_in(source_of_index)
    if numbers is None:
        return None
    row_of_number = {number: row for row, number in enumerate(index.numbers)}
    return torch.tensor([row_of_number[numbers[i]] for i in images.numbers])
