"""ActivationRange: the minimum and maximum of each neuron."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from torchmetrics_dna.checks import check_one_of
from torchmetrics_dna.metrics.base import SEEN, ImageMetric
from torchmetrics_dna.metrics.checked import all_or_nothing
from torchmetrics_dna.neurons.ranges import FixedMargin
from torchmetrics_dna.statistics import RangeStatistic
from torchmetrics_dna.statistics.setup import Feature, set_up

if TYPE_CHECKING:
    from torch import Tensor

    from torchmetrics_dna.images.inputs import Inputs
    from torchmetrics_dna.neurons.ranges import ActivationRanges


class ActivationRange(ImageMetric):
    """Minimum and maximum activation of each neuron. The bounds of histograms are computed from them.

    As input to ``forward`` and ``update`` the metric accepts

    - ``imgs`` (:class:`~torch.Tensor`): images ``(B, 3, H, W)``, uint8, or with ``normalize=True`` floats in [0, 1]

    As output of ``forward`` and ``compute`` the metric returns

    - ``ranges`` (:class:`dict`): ``minimum`` and ``maximum``, float64, shape ``(N,)``, in the order of ``neurons``

    Args:
        feature: As for :class:`DNAEMD`.
        normalize: Whether images are floating point in [0, 1] (True) or uint8 (False).
        layers: Names of the layers; by default those of the extractor.
        margin: Margin rule of the ranges that ``to_ranges`` returns, ``"widen"`` or ``"scale"``; see
            :class:`ActivationRanges`.
        kwargs: Keyword arguments of :class:`torchmetrics.Metric`.

    Raises:
        TypeError: If ``feature`` is of another type.
        ValueError: If an argument has a wrong value.

    Example:
        >>> import torch
        >>> from torchmetrics_dna import DNAEMD, ActivationRange
        >>> metric = ActivationRange(layers=["block_0", "head"])
        >>> metric.update(torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8))
        >>> {name: tuple(values.shape) for name, values in metric.compute().items()}
        {'minimum': (1296,), 'maximum': (1296,)}
        >>> emd = DNAEMD(metric.extractor, ranges=metric.to_ranges())
        >>> figure, axes = metric.plot()

    """

    higher_is_better: bool | None = None
    plot_lower_bound: float | None = None
    _statistic: RangeStatistic

    def __init__(
        self,
        feature: Feature | None = None,
        normalize: bool = False,
        *,
        layers: Sequence[str] | None = None,
        margin: FixedMargin = "widen",
        **kwargs: Any,
    ) -> None:
        check_one_of("margin", margin, FixedMargin)
        statistic = RangeStatistic(set_up(feature, layers, histograms=False).extractor, margin)
        super().__init__(statistic, (SEEN,), normalize, **kwargs)

    @override
    def update(self, imgs: Inputs) -> None:  # type: ignore[override]  # there is one side
        """Add images.

        Args:
            imgs: Shape ``(B, 3, H, W)``, uint8; with ``normalize=True`` floating point in [0, 1].

        Raises:
            ValueError: If images have a wrong type or shape, or activations are not finite. No image is added then.

        """
        self._check(imgs)
        self._add(SEEN, imgs)

    @all_or_nothing
    def to_ranges(self) -> ActivationRanges:
        """Return the ranges of all images so far, over all processes, with their margin rule. They are on the CPU.

        Raises:
            RuntimeError: If there are no images.

        """
        with self._whole():
            ranges: ActivationRanges = self._value_of(SEEN)
            return ranges

    @override
    def _value(self) -> dict[str, Tensor]:
        minimum, maximum = self._statistic.minimum_and_maximum(self._state(SEEN))
        # The maximum is a view of the state, and later updates change the state in place.
        return {"minimum": minimum, "maximum": maximum.clone()}
