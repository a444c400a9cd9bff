"""CMMD: the maximum mean discrepancy between the features of real and fake images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from torchmetrics_dna.functional.features import cmmd
from torchmetrics_dna.metrics.features import FeatureMetric

if TYPE_CHECKING:
    from torch import Tensor


class CMMD(FeatureMetric):
    r"""CMMD between real and generated images, by :func:`~torchmetrics_dna.functional.cmmd`.

    .. math::
        \text{CMMD} = 1000\, \text{MMD}^2_\sigma\left(\frac{x_{real}}{|x_{real}|}, \frac{x_{fake}}{|x_{fake}|}\right),
        \qquad \sigma = 10

    the squared maximum mean discrepancy, by the biased estimator and a Gaussian kernel, of the features x of images,
    spatial means of a layer (`Jayasumana et al., CVPR 2024 <https://arxiv.org/abs/2401.09603>`_). Published numbers are
    of ``feature="clip_vit_large_336", layer="projected"``, of squares cut out of images first.

    The features of all images are kept, ``4 n`` bytes an image: 30,000 images of 768 neurons take 92 MB a side, and
    four times that while the distance is computed. A sync gathers those of all processes, with a peak of three copies.
    The time grows with the product of the numbers of images.

    As input to ``forward`` and ``update`` the metric accepts

    - ``imgs`` (:class:`~torch.Tensor`): images ``(B, 3, H, W)``, uint8, or with ``normalize=True`` floats in [0, 1]
    - ``real`` (:class:`bool`): whether they are real images

    As output of ``forward`` and ``compute`` the metric returns

    - ``cmmd`` (:class:`~torch.Tensor`): float64 scalar, without unit

    Args:
        feature: As for :class:`MIND`, and so is ``reference``.
        reset_real_features: Whether ``reset`` clears the real images too. Set it to False if they do not change.
        normalize: Whether images are floating point in [0, 1] (True) or uint8 (False).
        layer: Name of the layer, or of a view of one; by default the last of the extractor.
        reference: The real side, if it is known in advance, or the path of a file of it.
        kwargs: Keyword arguments of :class:`torchmetrics.Metric`.

    Raises:
        TypeError: If ``feature`` is of another type.
        ValueError: If an argument has a wrong value.

    Example:
        >>> import torch
        >>> from torchmetrics_dna.metrics import CMMD
        >>> metric = CMMD(layer="block_1")
        >>> generator = torch.Generator().manual_seed(0)
        >>> bright = torch.randint(100, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=generator)
        >>> dark = torch.randint(0, 156, (4, 3, 64, 64), dtype=torch.uint8, generator=generator)
        >>> metric.update(bright, real=True)
        >>> metric.update(dark, real=False)
        >>> metric.compute() > 0
        tensor(True)
        >>> figure, axes = metric.plot()

    """

    @override
    def _distance(self, real: Tensor, fake: Tensor) -> Tensor:
        return cmmd(real, fake)
