"""What metrics of two sides of images share, real and fake."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor

from torchmetrics_dna.metrics.sharing import ExtractorMetric
from torchmetrics_dna.metrics.state import StatisticMetric

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_dna.statistics import State
    from torchmetrics_dna.statistics.resolve import Resolved

Value = Tensor | dict[str, Tensor]
NAMES = {True: "real", False: "fake"}


class SidedMetric(ExtractorMetric, StatisticMetric):
    """A distance between real and fake images, each side of which is a state of a statistic.

    A subclass registers the states, and says what their distance is.
    """

    def __init__(self, resolved: Resolved, reset_real_features: bool, normalize: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(reset_real_features, bool):
            raise ValueError("Argument `reset_real_features` expected to be a bool")
        self._use_extractor(resolved.extractor, normalize)
        self.reset_real_features = reset_real_features

    @property
    def _is_given(self) -> bool:
        """Whether the real side is given, not accumulated."""
        return False

    def update(self, imgs: Tensor, real: bool) -> None:
        """Add images to one side.

        Args:
            imgs: Shape ``(B, 3, H, W)``, uint8; with ``normalize=True`` floating point in [0, 1].
            real: Whether they are real images.

        Raises:
            ValueError: If images or ``real`` are something else, or activations are not finite. Nothing is added then.

        """
        self._add_images(imgs, real)

    def _add_images(self, imgs: Tensor, real: bool, **more: Any) -> None:
        """As :meth:`update`; ``more`` is for :meth:`_add`."""
        if not isinstance(real, bool):
            raise ValueError(f"Argument `real` expected to be a bool, but got {real!r}")
        if real and self._is_given:
            raise ValueError("The real side is the given `reference`, so images can only be added with `real=False`")
        self._check(imgs)
        self._add(self._side(NAMES[real]), imgs, **more)

    def compute(self) -> Value:
        """The distance between the sides.

        Returns:
            A scalar, float64. Of metrics that have it, with ``reduction="layer"`` a scalar for each layer; with
            ``"none"`` one value per neuron, or per layer where layers have no finer distances.

        Raises:
            RuntimeError: If a side has too few images.

        """
        self.extractor.release()
        return self._value()

    def forward(self, imgs: Tensor, real: bool) -> Value:
        """Add images to one side, and give their own distance to the other side as accumulated so far.

        Returns:
            As ``compute``; NaN where the batch or the other side has too few images.

        Raises:
            ValueError: As ``update``, and as there, nothing is added.

        """
        return self._forward_with(imgs, real)

    def _forward_with(self, imgs: Tensor, real: bool, **more: Any) -> Value:
        if not isinstance(real, bool) or (real and self._is_given):
            self.update(imgs, real)  # which says what is wrong
        return self._forward(NAMES[real], partial(self.update, imgs, real, **more), self._value_or_nan)

    def reset(self) -> None:
        """Forget both sides, or with ``reset_real_features=False`` the fake one."""
        kept = None if self.reset_real_features or self._is_given else self._side("real")
        super().reset()
        if kept is not None:
            self._set_side("real", kept)

    def _reduce_states(self, incoming_state: dict[str, Any]) -> None:
        if not (self.reset_real_features or self._is_given):
            raise ValueError(
                "A window of updates can't go with `reset_real_features=False`, since each would hold the real images"
                " again; give `reset_real_features=True`, or the real side as `reference`"
            )
        super()._reduce_states(incoming_state)

    def plot(
        self,
        val: Tensor | Sequence[Tensor] | dict[str, Tensor] | Sequence[dict[str, Tensor]] | None = None,
        ax: Any = None,
    ) -> tuple[Any, Any]:
        """Plot one value or several.

        Args:
            val: What ``forward`` or ``compute`` gave, or a list of such; by default ``compute`` is called.
            ax: Matplotlib axes to draw in; by default new ones.

        Returns:
            Figure and axes.

        Raises:
            ModuleNotFoundError: If matplotlib is missing.

        """
        figure, axes = self._plot(val, ax)
        return figure, axes

    def _add(self, side: State, imgs: Tensor) -> None:
        self._statistic.add_(side, self._activations(imgs), len(imgs))

    @abstractmethod
    def _value(self) -> Value:
        """What the metric gives for its sides; RuntimeError if one has too few images."""

    @abstractmethod
    def _value_or_nan(self) -> Value:
        """The same, but NaN if one has too few images."""
