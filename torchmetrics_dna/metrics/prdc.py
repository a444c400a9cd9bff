"""PRDC: precision, recall, density and coverage of generated images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.functional.features import NEAREST, check_integer, prdc
from torchmetrics_dna.metrics.features import FeatureMetric

if TYPE_CHECKING:
    import os

    from torchmetrics_dna.dna.features import Features
    from torchmetrics_dna.metrics.base import Value
    from torchmetrics_dna.statistics.resolve import Feature


class PRDC(FeatureMetric):
    """Precision, recall, density and coverage of generated among real images, by :func:`functional.prdc`.

    They separate fidelity of generated images (precision, density) from their diversity (recall, coverage), by the k
    nearest neighbours of features, spatial means of one layer (`Kynkäänniemi et al., 2019
    <https://arxiv.org/abs/1904.06991>`_, `Naeem et al., 2020 <https://arxiv.org/abs/2002.09797>`_). Compare values of
    equal numbers of images only. The features of all images are kept, ``4 n`` bytes an image, as in :class:`MIND`; the
    time grows with the product of the numbers of images.

    As input to ``forward`` and ``update`` the metric accepts

    - ``imgs`` (:class:`~torch.Tensor`): images ``(B, 3, H, W)``, uint8, or with ``normalize=True`` floats in [0, 1]
    - ``real`` (:class:`bool`): whether they are real images

    As output of ``forward`` and ``compute`` the metric returns

    - ``prdc`` (:class:`dict`): ``precision``, ``recall``, ``density``, ``coverage``, float64 scalars; higher is better

    Args:
        feature: As for :class:`MIND`, and so is ``reference``.
        reset_real_features: Whether ``reset`` clears the real images too. Set it to False if they do not change.
        normalize: Whether images are floating point in [0, 1] (True) or uint8 (False).
        layer: Name of the layer, or of a view of one; by default the last of the extractor.
        reference: The real side, if it is known in advance, or the path of a file of it.
        nearest_k: Number of nearest neighbours, k.
        kwargs: Keyword arguments of :class:`torchmetrics.Metric`.

    Raises:
        TypeError: If ``feature`` is of another type.
        ValueError: If an argument has a wrong value.

    Example:
        >>> import torch
        >>> from torchmetrics_dna.metrics import PRDC
        >>> metric = PRDC(layer="block_1", nearest_k=2)
        >>> generator = torch.Generator().manual_seed(0)
        >>> images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=generator)
        >>> metric.update(images, real=True)
        >>> metric.update(images // 2, real=False)
        >>> metric.compute()["coverage"]
        tensor(0., dtype=torch.float64)
        >>> figure, axes = metric.plot()

    """

    higher_is_better = True

    def __init__(
        self,
        feature: Feature | None = None,
        reset_real_features: bool = True,
        normalize: bool = False,
        *,
        layer: str | None = None,
        reference: Features | str | os.PathLike[str] | None = None,
        nearest_k: int = NEAREST,
        **kwargs: Any,
    ) -> None:
        check_integer("nearest_k", nearest_k, least=1)
        super().__init__(feature, reset_real_features, normalize, layer=layer, reference=reference, **kwargs)
        self.nearest_k, self._least = nearest_k, nearest_k + 1

    @property
    @override
    def _settings(self) -> dict[str, Any]:
        return super()._settings | {"nearest neighbours": self.nearest_k}

    @override
    def _distance(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        return prdc(real, fake, self.nearest_k)

    @override
    def _value_or_nan(self) -> Value:
        value = super()._value_or_nan()
        names = "precision", "recall", "density", "coverage"
        return dict.fromkeys(names, value) if isinstance(value, Tensor) else value
