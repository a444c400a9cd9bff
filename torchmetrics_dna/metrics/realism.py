"""DNARealism: score of each image against a reference: outlier score, distance or contrast."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.binning import Activations
from torchmetrics_dna.checks import check_one_of
from torchmetrics_dna.dna import DNA, HistogramDNA, LayerGaussianDNA
from torchmetrics_dna.dna.averaging import averaging_of
from torchmetrics_dna.dna.load import given_dna
from torchmetrics_dna.functional.outlier_score import percentiles
from torchmetrics_dna.functional.outliers import outlier_test, score_limit
from torchmetrics_dna.images.inputs import Inputs, count_of, mapped
from torchmetrics_dna.images.properties import LAYER, image_properties
from torchmetrics_dna.metrics.base import SEEN, ImageMetric
from torchmetrics_dna.metrics.checked import all_or_nothing
from torchmetrics_dna.statistics.outliers import OutlierScorer, outlier_reference
from torchmetrics_dna.statistics.scores import RealismStatistic, Score, Scorer, check_indices, check_left_out
from torchmetrics_dna.statistics.setup import Feature, Setup, set_up

if TYPE_CHECKING:
    from torchmetrics_dna.dna.neuron_weights import NeuronWeights
    from torchmetrics_dna.neurons.ranges import ActivationRanges
    from torchmetrics_dna.statistics.scores import ImageScorer


class DNARealism(ImageMetric):
    r"""Score of each image against a reference: lower is closer, as in an anomaly score.

    There are three scores. For all of them, lower is better. None of them is the realism score of `Kynkäänniemi et al.
    <https://arxiv.org/abs/1904.06991>`_, for which higher is better.

    - ``"outlier"``, the default: how unusual the image is among the reference's own images. The score is the sum of
      three surprisals. A surprisal is minus the logarithm of the share of the reference's own images that are at least
      as unusual. The first surprisal uses the Mahalanobis distance of the spatial means of all layers. The second uses
      the Mahalanobis distance of the image properties. The third uses the most extreme property in a direction that is
      a fault, such as dark or blurred. A reference without image properties gives the first surprisal alone. The mean
      score of real images is about 3 with properties, and about 1 without. :meth:`percentiles` returns the percentage
      of the reference's own images that are less unusual. The score does not rank the samples of a good generator by
      quality.
    - ``"distance"``: dna-emd of the image to the reference, in bins, as in sections 5.1 and 5.4 of `Visual DNA
      <https://arxiv.org/abs/2304.10036>`_, with the cumulative shares F of :class:`DNAEMD`:

      .. math::
          d_i(ref) = \sum_n W^n \sum_{k=0}^{B-1} |F_{ref}^n[k] - F_i^n[k]|

      Images with little contrast or detail are close to every set. In an experiment with digits, samples of a late
      checkpoint of a GAN had smaller distances to real digits than other real digits.
    - ``"contrast"``: :math:`d_i(ref) - d_i(contrast)`. The contrast is the DNA of the pool from which the images come.
      A score below 0 means that the image is closer to the reference than to the pool. This score finds the images of
      the reference's domain in a mixed pool. It has no meaning if pool and reference are samples of the same
      distribution. If the pool is only known at the end, use :func:`rank`.

    As input to ``forward`` and ``update`` the metric accepts

    - ``imgs`` (:class:`~torch.Tensor`): images ``(B, 3, H, W)``, uint8, or with ``normalize=True`` floats in [0, 1]
    - ``indices`` (:class:`~torch.Tensor`, optional): the index of each image in its data set

    As output of ``forward`` and ``compute`` the metric returns

    - ``scores`` (:class:`~torch.Tensor`): float64, shape ``(images,)``. ``forward`` returns the scores in the order of
      the batch. ``compute`` returns them by ascending index. It returns each index once, so images that a distributed
      sampler repeats are not counted twice. Without indices, scores are in order of addition, rank by rank

    Args:
        feature: A :class:`DNAExtractor`, or its ``feature``; by default the extractor of the reference.
        normalize: Whether images are floating point in [0, 1] (True) or uint8 (False).
        reference: DNA of the reference, or a path that :func:`load_dna` accepts. This argument is required. Outlier
            scores need a :class:`LayerGaussianDNA`, made by :func:`make_dna` with ``kind="layer-gaussian"``. The other
            scores need a :class:`HistogramDNA`.
        score: ``"outlier"``, ``"contrast"`` or ``"distance"``. The default for a :class:`LayerGaussianDNA` is
            ``"outlier"``. For a :class:`HistogramDNA`, it is ``"contrast"`` if ``contrast`` is given, else
            ``"distance"``.
        contrast: DNA of the pool of images, or its path. This argument is required for ``score="contrast"``.
        layers: Names of the layers; by default those of the reference.
        num_bins: Number of bins to merge the histograms to; by default those of the reference. See
            :meth:`HistogramDNA.rebin`.
        ranges: Activation ranges of the reference, or the path of their file. Only a reference in a file of vdna
            needs them, because such files contain no ranges.
        neuron_weights: The :math:`W^n` of Eq. (5): :class:`NeuronWeights`, the path of their file, or a tensor of shape
            ``(N,)``.
        kwargs: Keyword arguments of :class:`torchmetrics.Metric`.

    Raises:
        TypeError: If the reference or the contrast is a DNA of another representation.
        ValueError: If an argument has a wrong value, or does not fit the reference or the score.
        RuntimeError: If the score is ``"outlier"``, but the reference has fewer than three images.

    Example:
        >>> import torch
        >>> from torchmetrics_dna import DNARealism, make_dna
        >>> generator = torch.Generator().manual_seed(0)
        >>> bright = torch.randint(100, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=generator)
        >>> dark = torch.randint(0, 156, (2, 3, 64, 64), dtype=torch.uint8, generator=generator)
        >>> metric = DNARealism(reference=make_dna(bright, layers=["block_0", "head"]))
        >>> metric.update(torch.cat([bright[:1], dark]))
        >>> bright_one, *dark_ones = metric.compute()
        >>> all(bright_one < dark_one for dark_one in dark_ones)
        True
        >>> pool = torch.cat([bright[:1], dark])
        >>> metric = DNARealism(reference=metric.reference, contrast=make_dna(pool, layers=["block_0", "head"]))
        >>> metric.update(pool)
        >>> (metric.compute() < 0).tolist()  # more like the reference than like the pool
        [True, False, False]
        >>> metric = DNARealism(reference=make_dna(bright, layers=["block_0"], kind="layer-gaussian"))
        >>> scores = metric(torch.cat([bright[:1], dark]))
        >>> metric.percentiles(scores)[1:].tolist()  # the dark ones are above all of the reference's own images
        [100.0, 100.0]
        >>> sorted(metric.summary(worst=2)["indices"])
        [1, 2]
        >>> figure, axes = metric.plot()
        >>> len(metric.filter(torch.cat([bright[:1], dark]), share=0.2))  # of a generator, in a loop
        1

    """

    # A contrast may be negative.
    plot_lower_bound: float | None = None
    reference: HistogramDNA | LayerGaussianDNA
    _statistic: RealismStatistic

    def __init__(
        self,
        feature: Feature | None = None,
        normalize: bool = False,
        *,
        reference: HistogramDNA | LayerGaussianDNA | str | os.PathLike[str] | None = None,
        score: Score | None = None,
        contrast: HistogramDNA | str | os.PathLike[str] | None = None,
        layers: Sequence[str] | None = None,
        num_bins: int | None = None,
        ranges: ActivationRanges | str | os.PathLike[str] | None = None,
        neuron_weights: NeuronWeights | Tensor | str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> None:
        dnas = given_dna(reference, DNA, ranges)  # type: ignore[type-abstract]
        self.score = _checked_score(score, dnas[0] if dnas else None, contrast)
        if self.score == "outlier":
            check_left_out("outlier", num_bins=num_bins, ranges=ranges, neuron_weights=neuron_weights)
            setup = set_up(feature, layers, dnas=dnas, histograms=False)
        else:
            contrasts = given_dna(contrast, HistogramDNA, ranges, "contrast")
            setup = set_up(feature, layers, ranges=ranges, dnas=_rebinned([*dnas, *contrasts], num_bins))
        reference_dna, *contrast_dnas = setup.dnas
        self.contrast = contrast_dnas[0] if contrast_dnas else None
        averaging = averaging_of(setup.extractor, neuron_weights=neuron_weights)
        self.neuron_weights = averaging.weights
        self._scorer = _scorer_of(setup, averaging.weights)
        settings = {
            "references": reference_dna.digest,
            "contrasts": "none" if self.contrast is None else self.contrast.digest,
            **averaging.settings,
        }
        statistic = RealismStatistic(self._scorer, **settings)
        # There are no real images that a reset could keep.
        resets_real_features = True
        super().__init__(statistic, (SEEN,), normalize, resets_real_features, reference_dna, **kwargs)

    @override
    def update(  # type: ignore[override]  # there is one side
        self, imgs: Inputs, indices: Tensor | Sequence[int] | None = None
    ) -> None:
        """Score images.

        Args:
            imgs: Shape ``(B, 3, H, W)``, uint8; with ``normalize=True`` floating point in [0, 1].
            indices: Index of each image in the data set, shape ``(B,)``, 0 or more. Pass indices in every call or in
                none. Pass them on the CPU, since a CUDA tensor forces a sync.

        Raises:
            ValueError: If images or indices have a wrong type, shape or value, or activations are not finite. No image
                is added then.

        """
        self._check(imgs)
        count = count_of(imgs)
        # In a state, -1 means that no index was passed.
        checked_indices = torch.full((count,), -1) if indices is None else check_indices(indices, count)
        self._add(SEEN, imgs, checked_indices)

    @override
    def _parts_of(self, imgs: Inputs) -> Iterator[dict[str, Tensor]]:
        parts = super()._parts_of(imgs)
        if isinstance(self._scorer, OutlierScorer):
            return with_properties(parts, imgs, self._scorer, self.device)
        return parts

    def map(self, imgs: Inputs) -> dict[str, Tensor]:
        """Compute where images are unusual: how much each position of each layer adds to their scores.

        The mean of each layer's map over positions is the part of the layer. These means add up to the score. For
        outlier scores, they add up to the squared Mahalanobis distance of the spatial means. A layer that does not
        enter the score has no map. :func:`~torchmetrics_dna.functional.heat` joins the maps of all layers to one
        picture.

        Args:
            imgs: Shape ``(B, 3, H, W)``, uint8; with ``normalize=True`` floating point in [0, 1].

        Returns:
            Maps ``{layer: (B, *positions)}``, float64.

        Raises:
            ValueError: If images have a wrong type or shape, or activations are not finite.

        """
        self._check(imgs)
        return self._statistic.scorer.maps(self.extractor(imgs))

    @property
    def own_scores(self) -> Tensor:
        """Outlier scores of the reference's own images, float64, ``(n,)``. Each image is left out of the reference.

        Raises:
            RuntimeError: If the metric's score is not ``"outlier"``.

        """
        if not isinstance(self._scorer, OutlierScorer):
            raise RuntimeError(
                f"Percentiles and limits are for the score 'outlier', but the metric's is {self.score!r}"
            )
        return self._scorer.reference.own_scores

    def percentiles(self, scores: Tensor) -> Tensor:
        """Compute the percentage of the reference's own images that have a lower outlier score than each image.

        An image at 100 has a higher score than all of the reference's own images. Only the scores order such images.

        Args:
            scores: Scores of this metric, shape ``(B,)``.

        Returns:
            Percentages from 0 to 100, float64, shape ``(B,)``.

        Raises:
            RuntimeError: If the metric's score is not ``"outlier"``.

        """
        return percentiles(scores, self.own_scores.to(scores.device))

    def limit(self, share: float = 0.05) -> float:
        """Return the outlier score that at most this share of images of the reference's distribution exceed.

        Args:
            share: A share of at least ``1 / (n + 1)`` and below 1. The reference keeps a sample of n single images, at
                most 1,000.

        Raises:
            RuntimeError: If the metric's score is not ``"outlier"``.
            ValueError: If the share is too small for the number of images in the sample.

        """
        return score_limit(self.own_scores, share)

    def filter(self, imgs: Inputs, share: float = 0.05) -> Inputs:
        """Return the images whose score does not exceed :meth:`limit`. The metric's states do not change.

        To filter related tensors as well, such as latents, use the mask ``metric(imgs) <= metric.limit()``.

        Args:
            imgs: Shape ``(B, 3, H, W)``, uint8; with ``normalize=True`` floating point in [0, 1].
            share: Maximum share of images of the reference's distribution that exceed the limit.

        Raises:
            RuntimeError: If the metric's score is not ``"outlier"``.
            ValueError: If the share is too small, images have a wrong type or shape, or activations are not finite. On
                a device other than the CPU, activations that are not finite raise no error. All images of the batch
                are left out instead.

        """
        limit = self.limit(share)
        self._check(imgs)
        with torch.inference_mode():
            scores = self._statistic.score(Activations(*self._parts_of(imgs)))
            is_kept = scores <= limit
        return cast("Inputs", mapped(lambda tensor: tensor[is_kept.to(tensor.device)], imgs))

    @all_or_nothing
    def summary(self, worst: int = 5) -> dict[str, Any]:
        """Summarise the scores for a log, over all processes.

        Args:
            worst: Number of images with the highest scores to list.

        Returns:
            A dict with ``"mean"``, ``"median"`` and ``"max"`` of the scores, and ``"num_images"``. ``"indices"`` and
            ``"scores"`` are the data-set indices and the scores of the images with the highest scores, in descending
            order. Without indices, images are numbered in order of addition. For outlier scores, there are also the
            ``"percentiles"`` of these images, and results of :func:`~torchmetrics_dna.functional.outlier_test`:
            ``"p_value"``, the ``"share"`` of outliers, and ``"low"`` and ``"high"``, the ends of its interval. To see
            why an image is an outlier, use :func:`rank`.

        Raises:
            RuntimeError: If there are no images.

        """
        with self._whole():
            scores = self._value().cpu()
            indices = self._statistic.indices(self._state(SEEN))
        worst_places = scores.argsort(descending=True, stable=True)[:worst]
        worst_scores = scores[worst_places]
        figures: dict[str, Any] = {
            "mean": float(scores.mean()),
            "median": float(scores.quantile(0.5)),
            "max": float(scores.max()),
            "num_images": len(scores),
            "indices": indices[worst_places].tolist(),
            "scores": worst_scores.tolist(),
        }
        if self.score == "outlier":
            figures["percentiles"] = self.percentiles(worst_scores).tolist()
            figures |= self._test_for_outliers(scores)
        return figures

    def _test_for_outliers(self, scores: Tensor) -> dict[str, Any]:
        """Return the p-value of the test for outliers, and the share of outliers with the ends of its interval."""
        outliers = outlier_test(scores, self.own_scores)
        return {
            "p_value": outliers.p_value,
            "share": outliers.share,
            "low": outliers.low,
            "high": outliers.high,
        }

    @override
    def _value(self) -> Tensor:
        scores: Tensor = self._value_of(SEEN)
        if not len(scores):
            raise RuntimeError("At least one image is required to compute DNARealism, but got 0")
        return scores

    @override
    def _value_of_batch(self) -> Tensor:
        # Scores are in the order of the batch, so that a mask of them selects images of the batch.
        return self._statistic.in_order(self._state(SEEN))


def _checked_score(score: Score | None, reference: DNA | None, contrast: object) -> Score:
    """Return the score of the metric, by default the score that fits the reference and the contrast.

    Raises:
        TypeError: If the reference does not fit the score.
        ValueError: If there is no such score, or the contrast does not fit the score.

    """
    if score is None:
        score = _default_score(reference, contrast)
    check_one_of("score", score, Score)
    check_fits_score(score, reference, contrast)
    return score


def _default_score(reference: DNA | None, contrast: object) -> Score:
    """Return the score that fits the reference and the contrast."""
    if isinstance(reference, LayerGaussianDNA):
        return "outlier"
    if contrast is not None:
        return "contrast"
    # Without a reference, an error follows. It describes the reference that outlier scores need.
    return "outlier" if reference is None else "distance"


def _rebinned(dnas: Sequence[DNA], num_bins: int | None) -> Sequence[DNA]:
    """Return histograms with this number of bins; unchanged without a number."""
    if num_bins is None:
        return dnas
    histograms = cast("Sequence[HistogramDNA]", dnas)
    return [histogram.rebin(num_bins) for histogram in histograms]


def _scorer_of(setup: Setup, weights: Tensor | None) -> ImageScorer:
    """Return the scorer for the reference, which comes first, and the contrast, if there is one."""
    reference = setup.dnas[0]
    if isinstance(reference, LayerGaussianDNA):
        return OutlierScorer(outlier_reference(reference), setup.extractor, wait=False)
    histograms = cast("Sequence[HistogramDNA]", setup.dnas)
    return Scorer(histograms, setup.extractor, weights, wait=False)


def check_fits_score(score: Score, reference: DNA | None, contrast: object) -> None:
    """Check that a score has the reference and the contrast that it needs.

    Raises:
        TypeError: If the reference is missing, or is a DNA of another representation.
        ValueError: If the contrast is missing, or the score does not use it.

    """
    expected: type[DNA] = LayerGaussianDNA if score == "outlier" else HistogramDNA
    if not isinstance(reference, expected):
        representation = "layer-gaussian" if score == "outlier" else "histogram"
        got = "none" if reference is None else type(reference).__name__
        raise TypeError(
            f"Argument `reference` expected to be a {expected.__name__} or the path of one for the score {score!r}, but"
            f" got {got}; pass reference=make_dna(images, kind={representation!r}), of images as they should be;"
            " to find outliers without a reference, use rank(images)"
        )
    if score != "contrast":
        check_left_out(score, contrast=contrast)
    elif contrast is None:
        raise ValueError(
            "Argument `contrast` expected to be a HistogramDNA or the path of one for the score 'contrast', but got"
            " None; pass the DNA of the pool, or use rank(images, reference)"
        )


def with_properties(
    parts: Iterator[dict[str, Tensor]], imgs: Inputs, scorer: OutlierScorer, device: torch.device
) -> Iterator[dict[str, Tensor]]:
    """Add image properties, as a layer, to the activations of each part of a batch, if the reference has properties."""
    if not scorer.reference.has_properties or not isinstance(imgs, Tensor):
        return parts
    return _with_rows(parts, image_properties(imgs).to(device))


def _with_rows(parts: Iterator[dict[str, Tensor]], properties: Tensor) -> Iterator[dict[str, Tensor]]:
    """Yield each part with its rows of the properties of the batch."""
    begin = 0
    for part in parts:
        end = begin + len(next(iter(part.values())))
        yield part | {LAYER: properties[begin:end]}
        begin = end
