"""Published metrics by name, as a collection whose metrics share the passes of each network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.dna import LayerGaussianDNA
from torchmetrics_dna.dna.distances import DISTANCES, PROTOCOLS, named_in, networks_of
from torchmetrics_dna.files.visible import unknown_metrics
from torchmetrics_dna.metrics.collection import SharedCollection
from torchmetrics_dna.metrics.dna import DNAMetric
from torchmetrics_dna.metrics.emd import DNAEMD
from torchmetrics_dna.metrics.features import FeatureMetric
from torchmetrics_dna.metrics.frechet import DNAFrechet
from torchmetrics_dna.metrics.layer_frechet import LayerFrechetDistance
from torchmetrics_dna.statistics import CrossMomentStatistic
from torchmetrics_dna.statistics.resolve import DEFAULT_FEATURE, resolve

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from torchmetrics import Metric

    from torchmetrics_dna.dna.distance import Distance
    from torchmetrics_dna.extractors import DNAExtractor

_OF_NEURONS: dict[str, Callable[..., Metric]] = {"dna-emd": DNAEMD, "dna-fd": DNAFrechet, "fd": LayerFrechetDistance}


def published_metrics(
    metrics: Sequence[str] | str,
    weights_path: str | os.PathLike[str] | None = None,
    reset_real_features: bool = True,
    normalize: bool = False,
    device: str | torch.device | None = None,
    **kwargs: Any,
) -> SharedCollection:
    """Return a collection of published metrics, with the values that :func:`compare` gives for the same names.

    Each brings network, layer, resize and crop of its publication. Other distances, such as dna-emd, are of
    ``efficientnet_lite0``, and go into a collection of their own, so that no name hides another network. Each network
    runs once for a batch, and metrics of one layer share a state. The features of all images are kept, ``4 n``
    bytes an image, except for Fréchet distances and those of neurons.

    Args:
        metrics: Names, such as ``["fid", "kid", "is"]``.
        weights_path: Weights of the network, a file or folder; of several networks a folder with those of each. By
            default they are downloaded.
        reset_real_features: Whether ``reset`` clears the real images too. Set it to False if they do not change.
        normalize: Whether images are floating point in [0, 1] (True) or uint8 (False).
        device: Device of the networks; by default that of the first images.
        kwargs: Keyword arguments of :class:`torchmetrics.Metric`.

    Returns:
        A collection whose values are scalars by name; of kid and is the means.

    Raises:
        ValueError: If a name is unknown, published metrics are mixed with others, or weights are wrong or missing.

    Example:
        >>> import torch
        >>> from torchmetrics_dna import published_metrics
        >>> collection = published_metrics(["dna-emd", "mind"])  # with Inception's weights ["fid", "kid", "is"]
        >>> images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
        >>> collection.update(images, real=True)
        >>> collection.update(images // 2, real=False)
        >>> sorted(collection.compute())
        ['dna-emd', 'mind']

    """
    names = [metrics] if isinstance(metrics, str) else metrics
    records = {name: named_in(PROTOCOLS, name) or named_in(DISTANCES, name) for name in names}
    unknown = [name for name, record in records.items() if record is None]
    if unknown or not records:
        raise ValueError(unknown_metrics(unknown, dict.fromkeys([*PROTOCOLS, *DISTANCES])))
    chosen = list(filter(None, records.values()))
    others = [record for record in chosen if record.protocol is None]
    if 0 < len(others) < len(chosen):
        raise ValueError(
            "Argument `metrics` expected to be published metrics, which bring their network, or others, which are of"
            f" {DEFAULT_FEATURE}, but got {', '.join(names)}; make those of {DEFAULT_FEATURE}"
            f" ({', '.join(record.name for record in others)}) by another call"
        )
    options: dict[str, Any] = {"reset_real_features": reset_real_features, "normalize": normalize, **kwargs}
    network: dict[str, Any] = {"device": device}
    split = [(network, others)] if others else networks_of(chosen, network | {"weights_path": weights_path})
    by_name: dict[str, Metric | SharedCollection] = {}
    for own, of_network in split:
        extractor = resolve(own, histograms=False).extractor
        by_name |= {record.name: _metric(record, extractor, **options) for record in of_network}
    return SharedCollection({record.name: by_name[record.name] for record in chosen})


def _metric(record: Distance, extractor: DNAExtractor, **options: Any) -> Metric:
    if record.grain == "set":
        return (_Score if record.higher_is_better else _OfFeatures)(record, extractor, **options)
    if record.protocol is None:
        return _OF_NEURONS[record.name](extractor, **options)
    return _OfLayer(record, extractor, **options)


class _OfLayer(DNAMetric[LayerGaussianDNA]):
    """Fréchet distance of one layer."""

    reductions = ("mean",)

    def __init__(
        self, record: Distance, extractor: DNAExtractor, reset_real_features: bool, normalize: bool, **kwargs: Any
    ) -> None:
        self.distance = record
        statistic = CrossMomentStatistic(extractor, record.layer)
        resolved = resolve(extractor, histograms=False)
        super().__init__(resolved, statistic, reset_real_features, normalize, "mean", None, **kwargs)


class _OfFeatures(FeatureMetric):
    """Distance of the features of one layer: the mean, where it has a deviation over subsets."""

    def __init__(self, record: Distance, extractor: DNAExtractor, *options: Any, **kwargs: Any) -> None:
        super().__init__(extractor, *options, layer=record.layer, **kwargs)
        self.distance, self._least = record, record.least

    @override
    def _distance(self, real: Tensor, fake: Tensor) -> Tensor:
        value, _ = self.distance.of_features(real, fake)
        return torch.tensor(value, dtype=torch.float64, device=self.device)


class _Score(_OfFeatures):
    """Score where higher is better."""

    higher_is_better = True
