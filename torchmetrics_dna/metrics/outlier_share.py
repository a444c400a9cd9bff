"""OutlierShare: the share of images that are outliers relative to a reference, with its interval."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.checks import check_bool
from torchmetrics_dna.dna import DNA, LayerGaussianDNA, TooFewImagesError
from torchmetrics_dna.dna.load import given_dna
from torchmetrics_dna.functional.outliers import share_beyond
from torchmetrics_dna.metrics.base import ImageMetric
from torchmetrics_dna.metrics.realism import check_fits_score, with_properties
from torchmetrics_dna.statistics.outliers import OutlierCountStatistic, OutlierScorer, outlier_reference
from torchmetrics_dna.statistics.setup import Feature, set_up

if TYPE_CHECKING:
    from torchmetrics_dna.images.inputs import Inputs

_NAMES = ("outlier_share", "outlier_share_low", "outlier_share_high")


class OutlierShare(ImageMetric):
    """Share of fake images that are outliers relative to a reference, such as broken samples, with a 95% interval.

    The value is the share of :meth:`DNARealism.summary`. The metric counts the fake images above a limit: the outlier
    score that a tenth of the reference's own images exceed. The share of outliers is the excess over a tenth, divided
    by nine tenths (Storey, 2002). Outliers below the limit are not counted. The interval extends two standard errors to
    each side of the share. The standard error includes the sampling noise of both sets.

    The state consists of counts only, so a sync needs one all-reduce. An image that a distributed sampler repeats is
    counted twice.

    As input to ``forward`` and ``update`` the metric accepts

    - ``imgs`` (:class:`~torch.Tensor`): images ``(B, 3, H, W)``, uint8, or with ``normalize=True`` floats in [0, 1]
    - ``real`` (:class:`bool`): whether the images are real. Real images are ignored. The argument exists so that the
      metric can be a member of a collection with :class:`DNAEMD`

    As output of ``forward`` and ``compute`` the metric returns

    - ``shares`` (:class:`dict`): scalars from 0 to 1, float64: ``outlier_share``, ``outlier_share_low`` and
      ``outlier_share_high``

    Args:
        feature: A :class:`DNAExtractor`, or its ``feature``; by default the extractor of the reference.
        normalize: Whether images are floating point in [0, 1] (True) or uint8 (False).
        reference: A :class:`LayerGaussianDNA`, made by :func:`make_dna` with ``kind="layer-gaussian"``, or a path that
            :func:`load_dna` accepts. This argument is required. With fewer than 100 images, the interval is wide.
        layers: Names of the layers; by default those of the reference.
        kwargs: Keyword arguments of :class:`torchmetrics.Metric`.

    Raises:
        TypeError: If the reference is missing, or is a DNA of another representation.
        ValueError: If an argument has a wrong value, or does not fit the reference.
        RuntimeError: If the reference has fewer than three images.

    Example:
        >>> import torch
        >>> from torchmetrics_dna import OutlierShare, make_dna
        >>> generator = torch.Generator().manual_seed(0)
        >>> images = torch.randint(0, 256, (60, 3, 64, 64), dtype=torch.uint8, generator=generator)
        >>> metric = OutlierShare(reference=make_dna(images[:40], layers=["block_0"], kind="layer-gaussian"))
        >>> images[40:50] //= 4
        >>> metric.update(images[40:], real=False)
        >>> {name: round(float(share), 2) for name, share in metric.compute().items()}
        {'outlier_share': 0.44, 'outlier_share_low': 0.19, 'outlier_share_high': 0.7}
        >>> figure, axes = metric.plot()

    """

    plot_upper_bound: float = 1.0
    reference: LayerGaussianDNA
    _statistic: OutlierCountStatistic

    def __init__(
        self,
        feature: Feature | None = None,
        normalize: bool = False,
        *,
        reference: LayerGaussianDNA | str | os.PathLike[str] | None = None,
        layers: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        dnas = given_dna(reference, DNA)  # type: ignore[type-abstract]
        check_fits_score("outlier", dnas[0] if dnas else None, contrast=None)
        setup = set_up(feature, layers, dnas=dnas, histograms=False)
        fitted_reference = cast("LayerGaussianDNA", setup.dnas[0])
        scorer = OutlierScorer(outlier_reference(fitted_reference), setup.extractor, wait=False)
        statistic = OutlierCountStatistic(scorer)
        super().__init__(statistic, ("fake",), normalize, True, fitted_reference, **kwargs)

    @override
    def update(self, imgs: Inputs, real: bool = False) -> None:
        """Count fake images. Real images are ignored, because the reference is used in their place.

        Args:
            imgs: Shape ``(B, 3, H, W)``, uint8; with ``normalize=True`` floating point in [0, 1].
            real: Whether the images are real.

        Raises:
            ValueError: If images or ``real`` have a wrong type or shape, or activations are not finite. No image is
                counted then.

        """
        check_bool("real", real)
        self._check(imgs)
        if not real:
            self._add("fake", imgs)

    @override
    def _parts_of(self, imgs: Inputs) -> Iterator[dict[str, Tensor]]:
        return with_properties(super()._parts_of(imgs), imgs, self._statistic.scorer, self.device)

    @override
    def _value(self) -> dict[str, Tensor]:
        num_beyond, num_images = self._value_of("fake")
        if not num_images:
            raise TooFewImagesError("At least one image is required to compute OutlierShare, but got 0")
        num_typical = len(self._statistic.scorer.reference.own_scores)
        return self._named(share_beyond(num_beyond, num_images, num_typical))

    @override
    def _nan(self) -> dict[str, Tensor]:
        return self._named([torch.nan] * len(_NAMES))

    def _named(self, shares: Sequence[float]) -> dict[str, Tensor]:
        """Return the share and the ends of its interval as a dict of scalars."""
        values = torch.tensor(shares, dtype=torch.float64, device=self.device)
        return dict(zip(_NAMES, values, strict=True))
