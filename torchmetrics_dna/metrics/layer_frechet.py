"""LayerFrechetDistance: the multivariate Fréchet distance between layers, for real and fake images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from torchmetrics_dna.dna import LayerGaussianDNA
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.load import given_dna
from torchmetrics_dna.functional.reduction import check_weights
from torchmetrics_dna.metrics.base import ImageMetric
from torchmetrics_dna.metrics.dna import DNAMetric, MetricReduction
from torchmetrics_dna.statistics import CrossMomentStatistic
from torchmetrics_dna.statistics.resolve import resolve

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from torchmetrics_dna.statistics.resolve import Feature


class LayerFrechetDistance(DNAMetric[LayerGaussianDNA]):
    r"""Fréchet distance (fd) between real and generated images, over all neurons of a layer together, as in FID.

    .. math::
        \text{FD} = \sum_l W^l \left( |\mu_{real}^l - \mu_{fake}^l|^2 + \mathrm{tr}\left(\Sigma_{real}^l
        + \Sigma_{fake}^l - 2 (\Sigma_{real}^l \Sigma_{fake}^l)^{1/2}\right) \right), \qquad W^l = \frac{1}{|L|}

    where :math:`\mu^l` and :math:`\Sigma^l` are mean and (unbiased) covariance, over images, of the spatial means of
    the neurons of layer l: the fd that `Visual DNA <https://arxiv.org/abs/2304.10036>`_ is compared with. Over the last
    layer of an Inception network alone, it is FID. The unit is that of the activations, squared.

    As input to ``forward`` and ``update`` the metric accepts

    - ``imgs`` (:class:`~torch.Tensor`): images ``(B, 3, H, W)``, uint8, or with ``normalize=True`` floats in [0, 1]
    - ``real`` (:class:`bool`): whether they are real images

    As output of ``forward`` and ``compute`` the metric returns

    - ``fd`` (:class:`~torch.Tensor`): float64 scalar, or what ``reduction`` says

    Args:
        feature: As for :class:`DNAEMD`.
        reset_real_features: Whether ``reset`` clears the real images too. Set it to False if they do not change.
        normalize: Whether images are floating point in [0, 1] (True) or uint8 (False).
        layers: Names of the layers; by default those of the extractor.
        reference: As for :class:`DNAEMD`, also the path of statistics for FID. Extractor and layers are taken from it
            unless given; for statistics they are ``inception_fid``.
        layer_weights: The :math:`W^l`: a dict with the weight of each layer, or shape ``(layers,)``.
        reduction: ``"mean"``: the sum above. ``"layer"``: a dict of scalars, one per layer. ``"none"``: one value
            per layer, shape ``(layers,)``. Without weights these are plain means and distances.
        kwargs: Keyword arguments of :class:`torchmetrics.Metric`.

    Raises:
        TypeError: If ``feature`` is of another type.
        ValueError: If an argument has a wrong value.

    Example:
        >>> import torch
        >>> from torchmetrics_dna import LayerFrechetDistance
        >>> metric = LayerFrechetDistance(layers=["block_0", "block_1"], layer_weights={"block_0": 0.9, "block_1": 0.1})
        >>> generator = torch.Generator().manual_seed(0)
        >>> bright = torch.randint(100, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=generator)
        >>> dark = torch.randint(0, 156, (4, 3, 64, 64), dtype=torch.uint8, generator=generator)
        >>> metric.update(bright, real=True)
        >>> metric.update(dark, real=False)
        >>> metric.compute() > 0
        tensor(True)
        >>> figure, axes = metric.plot()

    """

    distance = DISTANCES["fd"]
    _to_keep_folds = "DNAEMD and DNAFrechet can keep them"
    update = ImageMetric.update  # type: ignore[assignment]  # folds are not kept

    def __init__(
        self,
        feature: Feature | None = None,
        reset_real_features: bool = True,
        normalize: bool = False,
        *,
        layers: Sequence[str] | None = None,
        reference: LayerGaussianDNA | str | os.PathLike[str] | None = None,
        layer_weights: Mapping[str, float] | Tensor | None = None,
        reduction: MetricReduction = "mean",
        **kwargs: Any,
    ) -> None:
        resolved = resolve(feature, layers, dnas=given_dna(reference, LayerGaussianDNA), histograms=False)
        weights = None if layer_weights is None else _in_order(layer_weights, list(resolved.extractor.neurons))
        statistic = CrossMomentStatistic(resolved.extractor)
        super().__init__(resolved, statistic, reset_real_features, normalize, reduction, weights, **kwargs)
        self.layer_weights = self._weights


def _in_order(weights: Mapping[str, float] | Tensor, layers: list[str]) -> Tensor:
    """Return the weight of each layer, float64, shape ``(layers,)``; ValueError if they are for other layers."""
    if isinstance(weights, Mapping):
        if set(weights) != set(layers):
            raise ValueError(
                f"Argument `layer_weights` expected to have the layers {', '.join(layers)}, but got"
                f" {', '.join(map(str, weights)) or 'none'}"
            )
        weights = torch.tensor([weights[layer] for layer in layers], dtype=torch.float64)
    weights = check_weights(weights, len(layers), of="layer")
    if not weights.any():
        raise ValueError("Argument `layer_weights` expected to have a weight other than 0, but all are 0")
    return weights
