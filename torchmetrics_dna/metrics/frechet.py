"""DNAFrechet: the per-neuron Fréchet distance between the Visual DNAs of real and fake images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from torchmetrics_dna.dna import GaussianDNA
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.load import given_dna
from torchmetrics_dna.metrics.dna import DNAMetric, folds_for
from torchmetrics_dna.statistics import MomentStatistic
from torchmetrics_dna.statistics.resolve import resolve

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from torch import Tensor

    from torchmetrics_dna.dna.neuron_weights import NeuronWeights
    from torchmetrics_dna.metrics.dna import MetricReduction
    from torchmetrics_dna.neurons.ranges import ActivationRanges
    from torchmetrics_dna.statistics import DNAStatistic
    from torchmetrics_dna.statistics.resolve import Feature


class DNAFrechet(DNAMetric[GaussianDNA]):
    r"""Fréchet distance between the Visual DNAs (dna-fd) of real and generated images, neuron by neuron.

    .. math::
        \text{DNA-FD} = \sum_n W^n \left( (\mu_{real}^n - \mu_{fake}^n)^2
        + (\sigma_{real}^n - \sigma_{fake}^n)^2 \right), \qquad W^n = \frac{1}{|N|}

    where :math:`\mu^n` and :math:`\sigma^n` are mean and (unbiased) standard deviation, over images, of the
    spatial mean of neuron n (section 3.1 of `Visual DNA <https://arxiv.org/abs/2304.10036>`_). The unit is
    that of the activations, squared.

    As input to ``forward`` and ``update`` the metric accepts

    - ``imgs`` (:class:`~torch.Tensor`): images ``(B, 3, H, W)``, uint8, or with ``normalize=True`` floats in [0, 1]
    - ``real`` (:class:`bool`): whether they are real images
    - ``groups`` (a sequence, optional): the group of each image, whose images share a fold

    As output of ``forward`` and ``compute`` the metric returns

    - ``dna_fd`` (:class:`~torch.Tensor`): float64 scalar, or what ``reduction`` says

    Args:
        feature: As for :class:`DNAEMD`.
        reset_real_features: Whether ``reset`` clears the real images too. Set it to False if they do not change.
        normalize: Whether images are floating point in [0, 1] (True) or uint8 (False).
        layers: Names of the layers; by default those of the extractor.
        statistics: ``"means"``: Gaussians of the spatial means, one per image, as in the official implementation.
            ``"activations"``: Gaussians of all activations, as the paper's text has it, read off the same histograms
            as :class:`DNAEMD` keeps; in a collection the two share one state.
        num_bins: Bins of those histograms.
        ranges: Activation ranges of those histograms, as for :class:`DNAEMD`.
        reference: As for :class:`DNAEMD`; extractor and layers are taken from it unless given.
        neuron_weights: The :math:`W^n`, as for :class:`DNAEMD`.
        reduction: As for :class:`DNAEMD`.
        num_folds: As for :class:`DNAEMD`; with ``statistics="means"``.
        debias: As for :class:`DNAEMD`.
        pairs: As for :class:`DNAEMD`.
        kwargs: Keyword arguments of :class:`torchmetrics.Metric`.

    Raises:
        TypeError: If ``feature`` is of another type.
        ValueError: If an argument has a wrong value.

    Example:
        >>> import torch
        >>> from torchmetrics_dna import DNAFrechet
        >>> metric = DNAFrechet(layers=["block_0", "head"])
        >>> generator = torch.Generator().manual_seed(0)
        >>> bright = torch.randint(100, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=generator)
        >>> dark = torch.randint(0, 156, (4, 3, 64, 64), dtype=torch.uint8, generator=generator)
        >>> metric.update(bright, real=True)
        >>> metric.update(dark, real=False)
        >>> metric.compute() > 0
        tensor(True)
        >>> figure, axes = metric.plot()

    """

    distance = DISTANCES["dna-fd"]

    def __init__(
        self,
        feature: Feature | None = None,
        reset_real_features: bool = True,
        normalize: bool = False,
        *,
        layers: Sequence[str] | None = None,
        statistics: Literal["means", "activations"] = "means",
        num_bins: int | None = None,
        ranges: ActivationRanges | str | os.PathLike[str] | None = None,
        reference: GaussianDNA | str | os.PathLike[str] | None = None,
        neuron_weights: NeuronWeights | Tensor | str | os.PathLike[str] | None = None,
        reduction: MetricReduction = "mean",
        num_folds: int | None = None,
        debias: bool = False,
        pairs: bool = False,
        **kwargs: Any,
    ) -> None:
        if statistics not in ("means", "activations"):
            raise ValueError(f"Argument `statistics` expected to be 'means' or 'activations', but got {statistics!r}")
        from_histograms = statistics == "activations"
        if not from_histograms and (num_bins is not None or ranges is not None):
            raise ValueError("Arguments `num_bins` and `ranges` go with statistics='activations'; leave them out")
        if from_histograms and (num_folds is not None or debias or pairs):
            raise ValueError("Arguments `num_folds`, `debias` and `pairs` go with statistics='means'; leave them out")
        dnas = given_dna(reference, GaussianDNA)
        resolved = resolve(feature, layers, num_bins, ranges, dnas, histograms=from_histograms)
        statistic: DNAStatistic[Any] = (
            resolved.histogram_statistic()
            if from_histograms
            else MomentStatistic(resolved.extractor, folds_for(num_folds, debias))
        )
        super().__init__(
            resolved, statistic, reset_real_features, normalize, reduction, neuron_weights, debias, pairs, **kwargs
        )
        self.statistics, self.neuron_weights = statistics, self._weights
        if from_histograms:
            self._to_keep_folds = "DNAEMD, or DNAFrechet with statistics='means', can keep them"
