"""Share one forward pass between consumers of the same images."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from torchmetrics_dna.neurons.index import Neurons

Activations = list[dict[str, "Tensor"]]  # of consecutive parts of a batch


class SharedPass:
    """Cache of the activations of the last batch, for as long as another consumer may request them.

    Consumers are the metrics and pooled layers of one extractor. Activations are cached only if there are several, and
    dropped as soon as each had them, the images are deleted, or other images come. Images are compared by content,
    never by identity alone, so buffers may be reused and changed.
    """

    def __init__(self) -> None:
        self._consumers: list[weakref.ref[Any]] = []
        self._cached: _CachedBatch | None = None

    def register(self, consumer: object) -> None:
        """Register a consumer, for as long as it lives."""
        self._consumers.append(weakref.ref(consumer))

    def get(self, imgs: Tensor, run: Callable[[Tensor], Activations]) -> Activations:
        """Return the activations of images, from the cache or else from a forward pass."""
        cached = self._cached
        if cached is not None and cached.matches(imgs):
            cached.uses += 1
            if cached.uses >= self._count():
                self.drop()
            return cached.activations
        self.drop()
        activations = run(imgs)
        if self._count() > 1:
            self._cached = _CachedBatch.of(imgs, activations, self)
        return activations

    def drop(self) -> None:
        """Clear the cache."""
        self._cached = None

    def _count(self) -> int:
        self._consumers = [consumer for consumer in self._consumers if consumer() is not None]
        return len(self._consumers)

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedPass, ()


@dataclass(eq=False)
class _CachedBatch:
    activations: Activations
    alive: weakref.ref[Tensor]
    content: Tensor | None
    version: int
    uses: int = 1

    @classmethod
    def of(cls, imgs: Tensor, activations: Activations, owner: SharedPass) -> _CachedBatch:
        # On the CPU, numpy may write to the memory without torch noticing, so contents are compared, which is cheap
        # next to a network. On other devices that would be a sync, and version counters see all writes.
        tracked = imgs.device.type != "cpu" and not imgs.is_inference()
        owner_ref = weakref.ref(owner)

        def drop_cache(images: weakref.ref[Tensor]) -> None:
            shared = owner_ref()
            if shared is not None and shared._cached is not None and shared._cached.alive is images:
                shared.drop()

        content = None if tracked else imgs.detach().clone()
        return cls(activations, weakref.ref(imgs, drop_cache), content, imgs._version if tracked else 0)

    def matches(self, imgs: Tensor) -> bool:
        if self.content is None:
            return self.alive() is imgs and imgs._version == self.version
        same_kind = imgs.dtype == self.content.dtype and imgs.device == self.content.device
        return same_kind and torch.equal(imgs, self.content)


class Shareable(nn.Module):
    """Module whose ``forward`` can't be replaced."""

    def __setattr__(self, name: str, value: Any) -> None:
        # torchmetrics' FeatureShare replaces it by a cache that mistakes a reused buffer for the same images
        if name != "forward":
            super().__setattr__(name, value)


class Extractor(Protocol):
    """Interface of :class:`DNAExtractor` that pooled layers use."""

    neurons: Neurons

    def in_parts(self, imgs: Tensor) -> Activations:
        """Return the activations as a list of consecutive parts of the batch."""

    def share_with(self, consumer: object) -> None:
        """Register a consumer; the network runs once for all consumers that get the same images in a row."""


class PooledLayer(Shareable):
    """Module of the spatial means of one layer, shape ``(B, n)``, float32; see :meth:`DNAExtractor.pooled`.

    Attributes:
        num_features: Number of neurons n.

    """

    def __init__(self, extractor: Extractor, layer: str) -> None:
        super().__init__()
        if layer not in extractor.neurons:
            raise ValueError(f"Unknown layer {layer!r}; the layers are: {', '.join(extractor.neurons)}")
        self.extractor = extractor
        self.layer = layer
        self.num_features = extractor.neurons[layer]
        extractor.share_with(self)

    def forward(self, imgs: Tensor) -> Tensor:
        """Compute spatial means for images that the extractor accepts."""
        pieces = [part[self.layer] for part in self.extractor.in_parts(imgs)]
        return torch.cat([piece.flatten(2).mean(2) if piece.ndim > 2 else piece for piece in pieces])

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.extractor.share_with(self)
