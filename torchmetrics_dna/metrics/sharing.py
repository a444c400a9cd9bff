"""Metrics over the activations of an extractor, which share its network and its forward passes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torchmetrics import Metric

from torchmetrics_dna.extractors import DNAExtractor
from torchmetrics_dna.images import check_images

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from torchmetrics_dna.binning.layouts import Parts
    from torchmetrics_dna.neurons.index import Neurons


class ExtractorMetric(Metric):
    """A metric over the activations of an extractor, whose forward pass others may share."""

    higher_is_better: bool | None = False
    is_differentiable: bool = False
    full_state_update: bool = False
    plot_lower_bound: float | None = 0.0
    feature_network: str = "extractor"
    extractor: DNAExtractor
    normalize: bool

    @property
    def neurons(self) -> Neurons:
        """The neurons, in the order of per-neuron values and weights."""
        return self.extractor.neurons

    def reset(self) -> None:
        """Forget all images."""
        super().reset()
        self.extractor.release()

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """As in torchmetrics, but after an error nothing is left behind."""
        try:
            super().sync(*args, **kwargs)
        finally:
            if not self._is_synced:
                self._cache = None

    @contextmanager
    def sync_context(self, *args: Any, should_unsync: bool = True, **kwargs: Any) -> Iterator[None]:
        """As in torchmetrics, but the local states come back also after an error."""
        self.sync(*args, **kwargs)
        try:
            yield
        finally:
            self.unsync(should_unsync=self._is_synced and should_unsync)

    def _check(self, imgs: Tensor) -> None:
        """ValueError unless these are images as ``normalize`` says; :meth:`_activations` looks at their values."""
        check_images(imgs, self.normalize, self.extractor.takes, values=False)

    def _activations(self, imgs: Tensor) -> Parts:
        """Those of images, without waiting for their device."""
        return self.extractor.in_parts(imgs, wait=False)

    def _use_extractor(self, extractor: DNAExtractor, normalize: bool) -> None:
        """Take an extractor, a share in its forward passes, and images as ``normalize`` says; ValueError if no bool."""
        if not isinstance(normalize, bool):
            raise ValueError("Argument `normalize` expected to be a bool")
        self.normalize = normalize
        self.extractor = extractor
        extractor.share_with(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.extractor.share_with(self)

    def __setattr__(self, name: str, value: Any) -> None:
        # torchmetrics' FeatureShare would put another metric's network here; the extractor shares its passes itself
        if name == self.feature_network and not isinstance(value, DNAExtractor):
            return
        super().__setattr__(name, value)
