"""Metrics over the activations of an extractor, which share its network and its forward passes."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

import torch
from torchmetrics import Metric

from torchmetrics_dna.extractors import DNAExtractor
from torchmetrics_dna.images import check_images
from torchmetrics_dna.images.tensors import lacks_float64

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from torchmetrics_dna.binning.layouts import Parts
    from torchmetrics_dna.neurons.index import Neurons


def not_compiled(call: Callable[..., Any]) -> Callable[..., Any]:
    """A call around which `torch.compile` breaks the graph of a user's loop: locks and weak references are in it."""
    outside: list[Callable[..., Any]] = []

    @wraps(call)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if "torch._dynamo" not in sys.modules:  # or torch would load its compiler, which takes a second
            return call(*args, **kwargs)
        if not outside:
            outside.append(torch.compiler.disable(call))  # type: ignore[no-untyped-call]
        return outside[0](*args, **kwargs)

    return checked


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
        for name, default in self._defaults.items():
            if isinstance(default, list):
                setattr(self, name, [])  # torchmetrics empties lists in place, which a wrapper or a copy may hold
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
        """ValueError unless these are images as ``normalize`` says; :meth:`_activations` looks at their values.

        RuntimeError where a CUDA graph captures what would not happen when it is replayed.
        """
        started: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        if started and not self._replays and torch.cuda.is_current_stream_capturing():
            raise RuntimeError(
                f"A CUDA graph can't capture `update` of this {type(self).__name__}, in which the host takes part: it"
                " keeps rows, folds or classes of images; call `update` outside of the graph"
            )
        check_images(imgs, self.normalize, self.extractor.takes, values=False)

    @property
    def _replays(self) -> bool:
        """Whether ``update`` is the same work of the device for each batch."""
        return not any(isinstance(state, list) for state in self._defaults.values())

    def _activations(self, imgs: Tensor) -> Parts:
        """Those of images, without waiting for their device; on the CPU where the device can't count."""
        parts = self.extractor.in_parts(imgs, wait=False)
        if not lacks_float64(imgs.device):
            return parts
        return [{layer: values.to(self.device) for layer, values in part.items()} for part in parts]

    def _apply(self, fn: Callable[..., Any], exclude_state: Sequence[str] = ()) -> Any:
        # on a device without float64, the metric stays where it is: the network runs there, and activations are fetched
        if not lacks_float64(fn(torch.zeros(0)).device):
            super()._apply(fn, exclude_state)
        return self

    def _wrap_update(self, update: Callable[..., Any]) -> Callable[..., Any]:
        # which may also write to states that were made or reset in inference mode
        return not_compiled(torch.inference_mode()(super()._wrap_update(update)))

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        return not_compiled(super()._wrap_compute(compute))

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
