"""MIND: the Monge Inception Distance between the features of real and fake images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import override

from torchmetrics_dna.functional.features import NUM_PROJECTIONS, SEED, check_integer, mind
from torchmetrics_dna.metrics.features import FeatureMetric

if TYPE_CHECKING:
    import os

    from torch import Tensor

    from torchmetrics_dna.dna.features import Features
    from torchmetrics_dna.statistics.resolve import Feature


class MIND(FeatureMetric):
    r"""Monge Inception Distance (MIND) between real and generated images, by :func:`~torchmetrics_dna.functional.mind`.

    .. math::
        \text{MIND} = \frac{3 n}{M} \sum_{m=1}^M W_2^2\left(\theta_m^T x_{real}, \theta_m^T x_{fake}\right)

    for random directions :math:`\theta_m` and the features x of images, spatial means of the n neurons of a layer
    (`Berthet et al., 2026 <https://arxiv.org/abs/2605.06797>`_). Published numbers are of FID's network, as
    ``feature="inception"`` is, but for how images are resized and scaled.

    The features of all images are kept, ``4 n`` bytes an image: 50,000 images of 2,048 neurons take 410 MB a side, and
    four times that while the distance is computed. A sync gathers those of all processes, with a peak of three copies.

    As input to ``forward`` and ``update`` the metric accepts

    - ``imgs`` (:class:`~torch.Tensor`): images ``(B, 3, H, W)``, uint8, or with ``normalize=True`` floats in [0, 1]
    - ``real`` (:class:`bool`): whether they are real images

    As output of ``forward`` and ``compute`` the metric returns

    - ``mind`` (:class:`~torch.Tensor`): float64 scalar, in squared activations

    Args:
        feature: Name or module of the network, as for :class:`DNAExtractor`, or a :class:`DNAExtractor`, which other
            metrics may share.
        reset_real_features: Whether ``reset`` clears the real images too. Set it to False if they do not change.
        normalize: Whether images are floating point in [0, 1] (True) or uint8 (False).
        layer: Name of the layer, or of a view of one such as ``"last_norm:class"``; by default the extractor's last.
        reference: The real side, if it is known in advance: from :meth:`to_features`, or the path of a file that its
            ``save`` wrote. Extractor and layer are taken from it unless given.
        num_projections: Number of directions, M.
        seed: Seed of the directions, and of the subsample of a larger side. The rest of that side is left out, so the
            value then depends on the order of its images; those of processes are interleaved, as by a distributed
            sampler.
        kwargs: Keyword arguments of :class:`torchmetrics.Metric`.

    Raises:
        TypeError: If ``feature`` is of another type.
        ValueError: If an argument has a wrong value.

    Example:
        >>> import torch
        >>> from torchmetrics_dna.metrics import MIND
        >>> metric = MIND(layer="block_1")
        >>> generator = torch.Generator().manual_seed(0)
        >>> bright = torch.randint(100, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=generator)
        >>> dark = torch.randint(0, 156, (4, 3, 64, 64), dtype=torch.uint8, generator=generator)
        >>> metric.update(bright, real=True)
        >>> metric.update(dark, real=False)
        >>> metric.compute() > 0
        tensor(True)
        >>> figure, axes = metric.plot()

    """

    def __init__(
        self,
        feature: Feature | None = None,
        reset_real_features: bool = True,
        normalize: bool = False,
        *,
        layer: str | None = None,
        reference: Features | str | os.PathLike[str] | None = None,
        num_projections: int = NUM_PROJECTIONS,
        seed: int = SEED,
        **kwargs: Any,
    ) -> None:
        check_integer("num_projections", num_projections, least=1)
        check_integer("seed", seed, least=0)
        super().__init__(feature, reset_real_features, normalize, layer=layer, reference=reference, **kwargs)
        self.num_projections, self.seed = num_projections, seed

    @property
    @override
    def _settings(self) -> dict[str, Any]:
        return super()._settings | {"numbers of projections": self.num_projections, "seeds": self.seed}

    @override
    def _distance(self, real: Tensor, fake: Tensor) -> Tensor:
        return mind(real, fake, num_projections=self.num_projections, seed=self.seed)
