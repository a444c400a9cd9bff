"""What the metrics share: two sides, an extractor, weights and a reduction."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from torchmetrics_dna.dna import GaussianDNA, HistogramDNA
from torchmetrics_dna.extractors import DNAExtractor
from torchmetrics_dna.functional.reduction import check_weights, weigh_and_reduce
from torchmetrics_dna.images import check_images

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_dna.neurons import Neurons

MetricReduction = Literal["mean", "layer", "none"]


_D = TypeVar("_D", HistogramDNA, GaussianDNA)


class DNAMetric(Metric, Generic[_D]):
    """A distance between the per-neuron statistics of real and fake images.

    A subclass says how activations add to the flat state of a side, and how far two such states are apart.
    The last entry of a state is the number of images.
    """

    higher_is_better: bool = False
    is_differentiable: bool = False
    full_state_update: bool = False
    plot_lower_bound: float = 0.0
    feature_network: str = "extractor"

    real_statistics: Tensor
    fake_statistics: Tensor

    def __init__(
        self,
        feature: str | nn.Module | DNAExtractor,
        reset_real_features: bool,
        normalize: bool,
        layers: Sequence[str] | None,
        neuron_weights: Tensor | None,
        reduction: MetricReduction,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, value in (("reset_real_features", reset_real_features), ("normalize", normalize)):
            if not isinstance(value, bool):
                raise ValueError(f"Argument `{name}` expected to be a bool")
        if reduction not in ("mean", "layer", "none"):
            raise ValueError(f"Argument `reduction` expected to be 'mean', 'layer' or 'none', but got {reduction!r}")
        if isinstance(feature, DNAExtractor):
            if layers is not None:
                raise ValueError("Argument `layers` goes with a named feature; give the layers to the DNAExtractor")
            self.extractor = feature
        else:
            self.extractor = DNAExtractor(feature, layers=layers)
        self.reset_real_features = reset_real_features
        self.normalize = normalize
        self.reduction = reduction
        self.neuron_weights = None if neuron_weights is None else check_weights(neuron_weights, self.neurons.total)

    @property
    def neurons(self) -> Neurons:
        """The neurons, in the order of per-neuron values and weights."""
        return self.extractor.neurons

    def update(self, imgs: Tensor, real: bool) -> None:
        """Add images to one side.

        Args:
            imgs: Shape ``(B, 3, H, W)``, uint8; with ``normalize=True`` floating point in [0, 1].
            real: Whether they are real images.

        Raises:
            ValueError: If images or ``real`` are something else, or activations are not finite. Nothing is added then.

        """
        if not isinstance(real, bool):
            raise ValueError(f"Argument `real` expected to be a bool, but got {real!r}")
        check_images(imgs, self.normalize)
        statistics = self.real_statistics if real else self.fake_statistics
        self._add(statistics[:-1], self.extractor.activations(imgs))
        statistics[-1] += len(imgs)

    def compute(self) -> Tensor | dict[str, Tensor]:
        """The distance between the sides.

        Returns:
            float64: a scalar; with ``reduction="layer"`` a scalar for each layer; with ``"none"`` shape ``(N,)``.

        Raises:
            RuntimeError: If a side has too few images.

        """
        real, fake = self._dna(self.real_statistics), self._dna(self.fake_statistics)
        distances = weigh_and_reduce(real.distances(fake), self.neuron_weights, "none")
        if self.reduction == "layer":
            return {layer: values.mean() for layer, values in self.neurons.split(distances).items()}
        return distances.mean() if self.reduction == "mean" else distances

    def reset(self) -> None:
        """Forget both sides, or with ``reset_real_features=False`` the fake one."""
        kept = None if self.reset_real_features else self.real_statistics
        super().reset()
        if kept is not None:
            self.real_statistics = kept

    def to_dna(self, real: bool) -> _D:
        """The DNA of one side as accumulated so far, over all processes."""
        with self.sync_context(
            dist_sync_fn=self.dist_sync_fn,
            should_sync=self._to_sync and not self._is_synced,
            should_unsync=self._should_unsync,
        ):
            return self._dna((self.real_statistics if real else self.fake_statistics).clone())

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
        return self._plot(val, ax)

    @abstractmethod
    def _add(self, statistics: Tensor, activations: dict[str, Tensor]) -> None:
        """Add a batch to the flat statistics of a side, in place; refuse bad activations before that."""

    @abstractmethod
    def _dna(self, statistics: Tensor) -> _D:
        """The flat state of a side, with its number of images, as a DNA that views it."""

    def _add_sides(self, size: int, dtype: torch.dtype) -> None:
        for side in ("real", "fake"):
            self.add_state(f"{side}_statistics", torch.zeros(size + 1, dtype=dtype), dist_reduce_fx="sum")
