"""Base class of metrics of features: spatial means of one layer, one row per image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.dna.features import Features, given_features
from torchmetrics_dna.dna.identity import check_made_by, extractor_of
from torchmetrics_dna.extractors import DNAExtractor
from torchmetrics_dna.metrics.base import ImageMetric, Value, exclusive
from torchmetrics_dna.statistics import FeatureStatistic
from torchmetrics_dna.statistics.resolve import resolve

if TYPE_CHECKING:
    import os

    from torchmetrics_dna.statistics.resolve import Feature


class FeatureMetric(ImageMetric):
    """Base class of the distances between the features of real and fake images.

    A subclass computes the distance, in :meth:`_distance`, of at least ``_least`` images a side.
    """

    reference: Features | None
    _statistic: FeatureStatistic
    _least = 1

    def __init__(
        self,
        feature: Feature | None = None,
        reset_real_features: bool = True,
        normalize: bool = False,
        *,
        layer: str | None = None,
        reference: Features | str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> None:
        features = given_features(reference)
        if features is not None:
            if layer not in (None, features.layer):
                raise ValueError(
                    f"Argument `layer` is {layer!r}, but `reference` is of {features.layer!r}; leave `layer` out"
                )
            layer = features.layer
            feature = extractor_of(features) if feature is None else feature
        layers = None if layer is None or isinstance(feature, DNAExtractor) else [layer]
        extractor = resolve(feature, layers, histograms=False).extractor
        chosen = list(extractor.neurons)[-1] if layer is None else layer
        if chosen not in extractor.neurons:
            raise ValueError(
                f"Unknown layer {layer!r}; the layers of the extractor are: {', '.join(extractor.neurons)}"
            )
        if features is not None:
            check_made_by(features, extractor)
        sides = ("real", "fake") if features is None else ("fake",)
        statistic = FeatureStatistic(extractor, chosen)
        super().__init__(extractor, statistic, sides, normalize, reset_real_features, features, **kwargs)
        self.layer = chosen

    @exclusive
    def features(self, real: bool) -> Tensor:
        """Return the features of one side so far, over all processes: float32, ``(images, n)``.

        Images of processes are interleaved, as by a distributed sampler.
        """
        with self._whole():
            return self._rows(real).clone()

    @exclusive
    def to_features(self, real: bool) -> Features:
        """Return the features of one side as a value, to save or to pass as ``reference``."""
        if real and self.reference is not None:
            return self.reference
        layer = self.neurons.take(self.neurons.positions([self.layer]))
        with self._whole():
            origin = self._origin("real" if real else "fake")
            return Features(self._rows(real), layer, self.extractor.name, **origin)

    def _distance(self, real: Tensor, fake: Tensor) -> Value:
        """Compute the distance between the features of both sides."""
        raise NotImplementedError

    def _rows(self, real: bool) -> Tensor:
        if real and self.reference is not None:
            return self.reference.values.to(self.device)
        return self._statistic.value(self._state("real" if real else "fake")).to(self.device)

    @override
    def _value(self) -> Value:
        return self._distance(self._rows(True), self._rows(False))

    @override
    def _value_or_nan(self) -> Value:
        real, fake = self._rows(True), self._rows(False)
        if min(len(real), len(fake)) >= self._least:
            return self._distance(real, fake)
        return torch.tensor(torch.nan, dtype=torch.float64, device=self.device)
