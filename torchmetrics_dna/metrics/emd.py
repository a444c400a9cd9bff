"""DNAEMD: the Earth Mover's Distance between the Visual DNAs of real and fake images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.load import given_dna
from torchmetrics_dna.metrics.dna import DNAMetric, folds_for
from torchmetrics_dna.statistics.resolve import resolve

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from torch import Tensor

    from torchmetrics_dna.dna.neuron_weights import NeuronWeights
    from torchmetrics_dna.metrics.dna import MetricReduction
    from torchmetrics_dna.neurons.ranges import ActivationRanges
    from torchmetrics_dna.statistics.resolve import Feature


class DNAEMD(DNAMetric[HistogramDNA]):
    r"""Earth Mover's Distance between the Visual DNAs (dna-emd) of real and generated images.

    .. math::
        \text{DNA-EMD} = \sum_n W^n \sum_{k=0}^{B-1} |F_{real}^n[k] - F_{fake}^n[k]|, \qquad W^n = \frac{1}{|N|}

    where :math:`F^n[k]` is the cumulative share, up to bin k, of the activations of neuron n over all positions
    of all images (Eq. 3 to 5 of `Visual DNA <https://arxiv.org/abs/2304.10036>`_). The unit is bins: 0 is
    equal, ``num_bins - 1`` the largest possible distance.

    As input to ``forward`` and ``update`` the metric accepts

    - ``imgs`` (:class:`~torch.Tensor`): images ``(B, 3, H, W)``, uint8, or with ``normalize=True`` floats in [0, 1]
    - ``real`` (:class:`bool`): whether they are real images
    - ``groups`` (a sequence, optional): the group of each image, whose images share a fold

    As output of ``forward`` and ``compute`` the metric returns

    - ``dna_emd`` (:class:`~torch.Tensor`): float64 scalar, in bins, or what ``reduction`` says

    Args:
        feature: Name or module of the network, as for :class:`DNAExtractor`, or a :class:`DNAExtractor`, which other
            metrics may share.
        reset_real_features: Whether ``reset`` clears the real images too. Set it to False if they do not change.
        normalize: Whether images are floating point in [0, 1] (True) or uint8 (False).
        layers: Names of the layers; by default those of the extractor.
        num_bins: Bins of each neuron's histogram.
        ranges: Activation ranges, an :class:`ActivationRanges` or the path of a file; or ``"auto"`` for histograms
            that find their own. By default those packaged with the extractor, or else ``"auto"``.
        reference: The real side, if it is known in advance, from ``to_dna`` or :func:`make_dna`, or the path of a DNA
            file that :func:`load_dna` accepts; only fake images are added then. Extractor, layers, bins and ranges are
            taken from it unless given.
        neuron_weights: The :math:`W^n`: :class:`NeuronWeights`, the path of a file of them, or shape ``(N,)`` in the
            order of ``neurons``.
        reduction: ``"mean"``: the sum above. ``"layer"``: a dict of scalars, one per layer. ``"none"``: one value
            per neuron, shape ``(N,)``. Without weights these are plain means and distances.
        num_folds: Number of folds of images to keep, at least 5, such as 20, for the interval and test of
            :meth:`evidence`. Twenty make the state three times as large; the distance is the same.
        debias: Whether to correct the distance for the sampling noise of finite sets. This needs folds (by default 20)
            with images in 5 of them on each side; the value is 0 if nothing is left of it.
        pairs: Whether images of both sides correspond, such as originals and their compressed versions: ``update`` then
            takes the pair of each image as ``groups``, the same for both, and evidence and debiased distances are those
            of pairs. Of few pairs keep many folds, such as 100.
        kwargs: Keyword arguments of :class:`torchmetrics.Metric`.

    Raises:
        TypeError: If ``feature`` or ``ranges`` are of another type.
        ValueError: If an argument has a wrong value, or the extractor has no ranges and none are given.

    Example:
        >>> import torch
        >>> from torchmetrics_dna import DNAEMD
        >>> metric = DNAEMD(layers=["block_0", "head"])
        >>> generator = torch.Generator().manual_seed(0)
        >>> bright = torch.randint(100, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=generator)
        >>> dark = torch.randint(0, 156, (4, 3, 64, 64), dtype=torch.uint8, generator=generator)
        >>> metric.update(bright, real=True)
        >>> metric.update(dark, real=False)
        >>> metric.compute() > 1
        tensor(True)
        >>> figure, axes = metric.plot()

    """

    distance = DISTANCES["dna-emd"]

    def __init__(
        self,
        feature: Feature | None = None,
        reset_real_features: bool = True,
        normalize: bool = False,
        *,
        layers: Sequence[str] | None = None,
        num_bins: int | None = None,
        ranges: ActivationRanges | str | os.PathLike[str] | None = None,
        reference: HistogramDNA | str | os.PathLike[str] | None = None,
        neuron_weights: NeuronWeights | Tensor | str | os.PathLike[str] | None = None,
        reduction: MetricReduction = "mean",
        num_folds: int | None = None,
        debias: bool = False,
        pairs: bool = False,
        **kwargs: Any,
    ) -> None:
        resolved = resolve(feature, layers, num_bins, ranges, given_dna(reference, HistogramDNA, ranges))
        statistic = resolved.histogram_statistic(folds_for(num_folds, debias))
        super().__init__(
            resolved, statistic, reset_real_features, normalize, reduction, neuron_weights, debias, pairs, **kwargs
        )
        self.num_bins, self.neuron_weights = resolved.num_bins, self._weights
