"""DNAMIND: the Monge Inception Distance between real and fake images, from histograms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torchmetrics_dna.dna import SlicedDNA
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.load import given_dna
from torchmetrics_dna.metrics.base import DNAMetric, MetricReduction
from torchmetrics_dna.tally import SlicedTally
from torchmetrics_dna.tally.resolve import resolve

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from torchmetrics_dna.tally.resolve import Feature


class DNAMIND(DNAMetric[SlicedDNA]):
    r"""Monge Inception Distance (MIND) between real and generated images, from histograms, of any layers.

    .. math::
        \text{DNA-MIND} = \frac{1}{|L|} \sum_l \frac{3 n^l}{M} \sum_{m=1}^M
        W_2^2\left(\theta_m^T x_{real}^l, \theta_m^T x_{fake}^l\right), \qquad M = 1000

    for the directions :math:`\theta_m` of :class:`MIND` and the spatial means x of the :math:`n^l` neurons of layer l.
    :class:`MIND` keeps the features of all images; this metric keeps a histogram for each direction, ``8 num_bins``
    bytes, so 8 MB a layer and side, however many images there are. Sides may differ in size, and no image is left out.
    With 1000 bins, the value is within 1 % of that of features unless the sides hardly differ.

    As input to ``forward`` and ``update`` the metric accepts

    - ``imgs`` (:class:`~torch.Tensor`): images, shape ``(B, 3, H, W)``; uint8, or with ``normalize=True``
      floating point in [0, 1]
    - ``real`` (:class:`bool`): whether they are real or fake

    As output of ``forward`` and ``compute`` the metric returns

    - ``dna_mind`` (:class:`~torch.Tensor`): float64 scalar, in squared activations; see ``reduction`` for more detail

    Args:
        feature: What describes the images: a name or module as :class:`DNAExtractor` takes it, or a
            :class:`DNAExtractor`, which other metrics may share.
        reset_real_features: Whether ``reset`` forgets the real images too. Set it to False if they do not change.
        normalize: Whether images are floating point in [0, 1] (True) or uint8 (False).
        layers: Which layers to watch; by default those of the extractor.
        num_bins: Bins of each direction's histogram; by default those of the reference, else 1000.
        reference: The real side, if it is known before, from ``to_dna`` or :func:`make_dna` with ``kind="sliced"``, or
            the path of a file of it; only fake images are added then. Extractor, layers and bins are taken from it
            where they are not given.
        reduction: ``"mean"``: the mean over layers. ``"layer"``: a dict of scalars, one per layer. ``"none"``: one
            value per layer, shape ``(layers,)``.
        kwargs: Keyword arguments of :class:`torchmetrics.Metric`.

    Raises:
        TypeError: If ``feature`` is of another type.
        ValueError: If an argument has a wrong value.

    Example:
        >>> import torch
        >>> from torchmetrics_dna import DNAMIND
        >>> metric = DNAMIND(layers=["block_0", "block_1"], num_bins=100)
        >>> generator = torch.Generator().manual_seed(0)
        >>> bright = torch.randint(100, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=generator)
        >>> dark = torch.randint(0, 156, (4, 3, 64, 64), dtype=torch.uint8, generator=generator)
        >>> metric.update(bright, real=True)
        >>> metric.update(dark, real=False)
        >>> metric.compute() > 0
        tensor(True)

    """

    distance = DISTANCES["dna-mind"]

    def __init__(
        self,
        feature: Feature | None = None,
        reset_real_features: bool = True,
        normalize: bool = False,
        *,
        layers: Sequence[str] | None = None,
        num_bins: int | None = None,
        reference: SlicedDNA | str | os.PathLike[str] | None = None,
        reduction: MetricReduction = "mean",
        **kwargs: Any,
    ) -> None:
        resolved = resolve(feature, layers, num_bins, dnas=given_dna(reference, SlicedDNA), histograms=False)
        super().__init__(resolved, reset_real_features, normalize, None, reduction, **kwargs)
        self.num_bins = resolved.num_bins
        self._accumulate(SlicedTally(self.extractor, resolved.num_bins))
