"""Collections whose metrics share the forward passes of their extractors, and published metrics by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torchmetrics
from torchmetrics import Metric, MetricCollection, SumMetric

from torchmetrics_dna.checks import check_bool
from torchmetrics_dna.dna.distances import find_distances, networks_of
from torchmetrics_dna.extractors.sharing import leaders, one_pass
from torchmetrics_dna.metrics.dna import DNAEMD, DNAFrechet, DNAMetric, LayerFrechetDistance
from torchmetrics_dna.metrics.features import FeatureMetric
from torchmetrics_dna.statistics import CrossMomentStatistic
from torchmetrics_dna.statistics.setup import DEFAULT_FEATURE, set_up

if TYPE_CHECKING:
    import torch

    from torchmetrics_dna.dna.distances import Distance
    from torchmetrics_dna.statistics.setup import Setup

_TORCHMETRICS = tuple(int(part) for part in torchmetrics.__version__.split(".")[:2])
# Metrics of distances between neurons or layers, by the name of the distance.
_DNA_METRICS: dict[str, Callable[..., Metric]] = {"dna-emd": DNAEMD, "dna-fd": DNAFrechet, "fd": LayerFrechetDistance}


class SharedCollection(MetricCollection):
    """Collection of metrics in which each extractor runs its network only once per call.

    Metrics share the forward passes if they were created with the same :class:`DNAExtractor`. Metrics of torchmetrics,
    such as FID and KID, share them through the extractor's ``pooled`` layers. Values are equal to those of the single
    metrics. No activations are kept after a call.

    Example:
        >>> import torch
        >>> from torchmetrics.image.fid import FrechetInceptionDistance
        >>> from torchmetrics_dna import DNAEMD, DNAExtractor, SharedCollection
        >>> extractor = DNAExtractor(layers=["block_0"])
        >>> fid = FrechetInceptionDistance(extractor.pooled("block_0"))
        >>> metrics = SharedCollection({"dna-emd": DNAEMD(extractor), "fid_block_0": fid})
        >>> images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
        >>> metrics.update(images, real=True)
        >>> metrics.update(images // 2, real=False)
        >>> sorted(metrics.compute())
        ['dna-emd', 'fid_block_0']

    """

    def add_metrics(self, metrics: Any, *additional_metrics: Metric) -> None:
        """Add metrics.

        Raises:
            ValueError: If ``metrics`` is a collection, and torchmetrics is older than 1.8, which would flatten it.

        """
        if isinstance(metrics, MetricCollection) and _TORCHMETRICS < (1, 8):
            raise ValueError(
                "Argument `metrics` is a collection, which needs torchmetrics 1.8 or newer, but"
                f" {torchmetrics.__version__} is installed; pass a list that contains the collection"
            )
        super().add_metrics(metrics, *additional_metrics)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Update each metric, or the first metric of each compute group.

        Raises:
            ValueError: If the collection is empty.

        """
        if not len(self):
            raise ValueError("SharedCollection has no metrics")
        with one_pass(leaders(self)):
            super().update(*args, **kwargs)

    def compute(self) -> dict[str, Any]:
        """Compute the value of each metric."""
        with one_pass(()):
            return super().compute()

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Call ``forward`` of each metric, and return their values."""
        with one_pass(self.children()):
            values: dict[str, Any] = super().forward(*args, **kwargs)
        return values


def published_metrics(
    metrics: Sequence[str] | str,
    weights_path: str | os.PathLike[str] | None = None,
    reset_real_features: bool = True,
    normalize: bool = False,
    device: str | torch.device | None = None,
    **kwargs: Any,
) -> SharedCollection:
    """Return a collection of published metrics. Their values are those of :func:`compare` for the same names.

    Each published metric uses the network, layer, resize and crop of its publication. Other distances, such as dna-emd,
    use ``efficientnet_lite0``. They need a collection of their own, so that no collection mixes published networks with
    the default network.

    Each network runs once per batch, and metrics of one layer share a state. Metrics other than Fréchet distances and
    distances between neurons keep the features of all images, which take ``4 n`` bytes per image for n neurons.

    Args:
        metrics: Names, such as ``["fid", "kid", "is"]``.
        weights_path: File or folder with the weights of the network. For several networks, a folder with the weights of
            each. By default, weights are downloaded.
        reset_real_features: Whether ``reset`` clears the real images too. Set it to False if they do not change.
        normalize: Whether images are floating point in [0, 1] (True) or uint8 (False).
        device: Device of the networks; by default the device of the first images.
        kwargs: Keyword arguments of :class:`torchmetrics.Metric`.

    Returns:
        A collection whose values are scalars by name. The values of kid and is are means over subsets.

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
    distances = find_distances(metrics, with_published=True)
    # Check all arguments before weights are fetched, which may take minutes. torchmetrics checks the keyword arguments.
    check_bool("reset_real_features", reset_real_features)
    check_bool("normalize", normalize)
    SumMetric(**kwargs)
    # Published metrics have a protocol: network, layer, resize and crop.
    unpublished = [distance for distance in distances if distance.protocol is None]
    _check_not_mixed(distances, unpublished)
    if unpublished and weights_path is not None:
        raise ValueError(f"Argument `weights_path` is for published metrics, but {unpublished[0].name} is none")
    by_network: Sequence[tuple[Any, Sequence[Distance]]]
    if unpublished:
        by_network = [({"device": device}, unpublished)]
    else:
        by_network = networks_of(distances, {"device": device, "weights_path": weights_path})
    metrics_by_name: dict[str, Metric] = {}
    for network, distances_of_network in by_network:
        setup = set_up(network, histograms=False)
        for distance in distances_of_network:
            metrics_by_name[distance.name] = _metric_of(
                distance, setup, reset_real_features=reset_real_features, normalize=normalize, **kwargs
            )
    # Distances are grouped by network above. The collection has them in the order of the names that were passed.
    return SharedCollection({distance.name: metrics_by_name[distance.name] for distance in distances})


def _check_not_mixed(distances: Sequence[Distance], unpublished: Sequence[Distance]) -> None:
    """Raise ValueError if some of the distances are published metrics, and others are not."""
    if not unpublished or len(unpublished) == len(distances):
        return
    raise ValueError(
        "Argument `metrics` expected to be published metrics, which bring their network, or others, which are of"
        f" {DEFAULT_FEATURE}, but got {', '.join(distance.name for distance in distances)}; make those of"
        f" {DEFAULT_FEATURE} ({', '.join(distance.name for distance in unpublished)}) by another call"
    )


def _metric_of(
    distance: Distance, setup: Setup, *, reset_real_features: bool, normalize: bool, **kwargs: Any
) -> Metric:
    """Return the metric of a distance. The other arguments are those of :func:`published_metrics`."""
    extractor = setup.extractor
    # A distance between sets, such as kid, is computed from the features of single images.
    if distance.granularity == "set":
        return FeatureMetric([distance], extractor, reset_real_features, normalize, distance.layer, **kwargs)
    if distance.protocol is None:
        metric_class = _DNA_METRICS[distance.name]
        return metric_class(extractor, reset_real_features, normalize, **kwargs)
    # A published Fréchet distance, such as fid, is that of its single layer.
    statistic = CrossMomentStatistic(extractor, distance.layer)
    return DNAMetric(distance, setup, statistic, reset_real_features, normalize, **kwargs)
