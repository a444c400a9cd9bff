"""DNARealism: distance of each image from a reference, or its contrast with that from a pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.dna.load import given_dna
from torchmetrics_dna.dna.neuron_weights import NeuronWeights, resolve_weights
from torchmetrics_dna.metrics.base import SEEN, ImageMetric
from torchmetrics_dna.metrics.state import digest_of
from torchmetrics_dna.statistics.realism import RealismStatistic
from torchmetrics_dna.statistics.resolve import resolve
from torchmetrics_dna.statistics.scores import POOL, Scorer, check_indices

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from torchmetrics_dna.neurons.ranges import ActivationRanges
    from torchmetrics_dna.statistics.resolve import Feature


class DNARealism(ImageMetric):
    r"""Distance of each image from a reference: dna-emd, or with a contrast the difference of two. Lower is closer.

    .. math::
        d_i(ref) = \sum_n W^n \sum_{k=0}^{B-1} |F_{ref}^n[k] - F_i^n[k]|, \qquad
        \text{realism}_i = d_i(ref) \;\text{ or }\; d_i(ref) - d_i(contrast)

    The first is as in sections 5.1 and 5.4 of `Visual DNA <https://arxiv.org/abs/2304.10036>`_, with the cumulative
    shares F of :class:`DNAEMD`. The unit is bins. A plain or low-contrast image is close to every set, so the distance
    alone ranks it high. With a contrast, scores below 0 mean that an image is more like the reference than like the
    pool it comes from. A contrast is meaningless if pool and reference are alike.

    As input to ``forward`` and ``update`` the metric accepts

    - ``imgs`` (:class:`~torch.Tensor`): images, shape ``(B, 3, H, W)``; uint8, or with ``normalize=True``
      floating point in [0, 1]
    - ``indices`` (:class:`~torch.Tensor`, optional): index of each image in the data set, shape ``(B,)``

    As output of ``forward`` (for its batch) and ``compute`` (for all images) the metric returns

    - ``dna_realism`` (:class:`~torch.Tensor`): float64, one score per image. By ascending index, each image once, so
      that repeats of a distributed sampler do not count; without indices in order of addition, rank by rank.

    Args:
        feature: A :class:`DNAExtractor`, or its ``feature``; by default the extractor of the reference.
        normalize: Whether images are floating point in [0, 1] (True) or uint8 (False).
        reference: A :class:`HistogramDNA`, or a path that :func:`load_dna` accepts.
        contrast: DNA to contrast with, or its path; or ``"pool"``, all scored images, of all processes, each once. A
            pool is only known at the end, so the histograms of each image are kept until then: with the default
            extractor 0.4 MB an image, and with ``num_bins=100`` 0.2 MB. None for the distance to the reference alone.
        layers: Names of the layers; by default those of the reference.
        num_bins: Number of bins, if fewer than in the reference and the contrast; see :meth:`HistogramDNA.rebin`.
        ranges: Activation ranges of the reference, or the path of a file of them, if it has none.
        neuron_weights: The :math:`W^n`: :class:`NeuronWeights`, the path of a file of them, or shape ``(N,)``.
        kwargs: Keyword arguments of :class:`torchmetrics.Metric`.

    Raises:
        TypeError: If the reference or the contrast is no histogram DNA.
        ValueError: If an argument has a wrong value, or does not fit the reference.

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
        >>> metric = DNARealism(reference=metric.reference, contrast="pool")
        >>> metric.update(torch.cat([bright[:1], dark]))
        >>> (metric.compute() < 0).tolist()  # more like the reference than like the pool
        [True, False, False]

    """

    plot_lower_bound: float | None = None  # a contrast goes below 0
    reference: HistogramDNA
    _statistic: RealismStatistic

    def __init__(
        self,
        feature: Feature | None = None,
        normalize: bool = False,
        *,
        reference: HistogramDNA | str | os.PathLike[str],
        contrast: HistogramDNA | str | os.PathLike[str] | None = None,
        layers: Sequence[str] | None = None,
        num_bins: int | None = None,
        ranges: ActivationRanges | str | os.PathLike[str] | None = None,
        neuron_weights: NeuronWeights | Tensor | str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> None:
        pools = isinstance(contrast, str) and contrast == POOL
        dnas = given_dna(reference, HistogramDNA, ranges)
        dnas += given_dna(None if pools else contrast, HistogramDNA, ranges, "contrast")
        dnas = dnas if num_bins is None else [dna.rebin(num_bins) for dna in dnas]
        resolved = resolve(feature, layers, ranges=ranges, dnas=dnas)
        extractor, sides = resolved.extractor, cast("tuple[HistogramDNA, ...]", resolved.dnas)
        contrast_dna: HistogramDNA | str | None = POOL if pools else sides[1] if len(sides) > 1 else None
        weights = resolve_weights(neuron_weights, extractor.neurons, extractor.name, extractor.weights_digest)
        settings = {
            "references": sides[0].digest,
            "contrasts": contrast_dna.digest if isinstance(contrast_dna, HistogramDNA) else str(contrast_dna),
            "neuron weights (digest)": digest_of(weights),
        }
        statistic = RealismStatistic(Scorer(sides, extractor, weights, wait=False), pools, **settings)
        super().__init__(extractor, statistic, (SEEN,), normalize, reference=sides[0], **kwargs)
        self.contrast, self.neuron_weights = contrast_dna, weights

    def update(self, imgs: Tensor, indices: Tensor | Sequence[int] | None = None) -> None:
        """Score images.

        Args:
            imgs: Shape ``(B, 3, H, W)``, uint8; with ``normalize=True`` floating point in [0, 1].
            indices: Index of each image in the data set, shape ``(B,)``, 0 or more; in every call or in none. A CUDA
                tensor forces a sync; pass indices on the CPU.

        Raises:
            ValueError: If images or indices are something else, activations are not finite, or with a pool of other
                shapes than those before. Nothing is added then.

        """
        self._check(imgs)
        no_indices = torch.full((len(imgs),), -1)
        self._add(SEEN, imgs, no_indices if indices is None else check_indices(indices, len(imgs)))

    @override
    def _value(self) -> Tensor:
        scores = self._statistic.value(self._state(SEEN))
        if not len(scores):
            raise RuntimeError("At least one image is required to compute DNARealism, but got 0")
        return scores
