"""One forward pass for all that ask about the same images."""

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

Activations = list[dict[str, "Tensor"]]  # of some images after others


class SharedPass:
    """Keeps the activations of the last batch while another consumer may still ask for them.

    Consumers are the metrics and pooled layers that stand on one extractor. Activations are kept only if there are
    several, and let go of as soon as each had them, the images are gone, or other images come. Whether images are the
    same is judged by what they hold, never by which object they are alone, so buffers may be reused and changed.
    """

    def __init__(self) -> None:
        self._consumers: list[weakref.ref[Any]] = []
        self._kept: _Kept | None = None

    def register(self, consumer: object) -> None:
        """Count one more consumer, for as long as it lives."""
        self._consumers.append(weakref.ref(consumer))

    def get(self, imgs: Tensor, run: Callable[[Tensor], Activations]) -> Activations:
        """The activations of images: kept ones if they are of the same images, else from a forward pass."""
        kept = self._kept
        if kept is not None and kept.is_of(imgs):
            kept.uses += 1
            if kept.uses >= self._count():
                self.drop()
            return kept.activations
        self.drop()
        activations = run(imgs)
        if self._count() > 1:
            self._kept = _Kept.of(imgs, activations, self)
        return activations

    def drop(self) -> None:
        """Let go of what is kept."""
        self._kept = None

    def _count(self) -> int:
        self._consumers = [consumer for consumer in self._consumers if consumer() is not None]
        return len(self._consumers)

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedPass, ()


@dataclass(eq=False)
class _Kept:
    activations: Activations
    alive: weakref.ref[Tensor]
    content: Tensor | None
    version: int
    uses: int = 1

    @classmethod
    def of(cls, imgs: Tensor, activations: Activations, owner: SharedPass) -> _Kept:
        # On the CPU others may write into the memory unseen by torch (numpy), so contents are compared, which is cheap
        # beside a network. Elsewhere that would make the host wait, and torch sees all writes: its counter will do.
        tracked = imgs.device.type != "cpu" and not imgs.is_inference()
        me = weakref.ref(owner)

        def forget(images: weakref.ref[Tensor]) -> None:
            shared = me()
            if shared is not None and shared._kept is not None and shared._kept.alive is images:
                shared.drop()

        content = None if tracked else imgs.detach().clone()
        return cls(activations, weakref.ref(imgs, forget), content, imgs._version if tracked else 0)

    def is_of(self, imgs: Tensor) -> bool:
        if self.content is None:
            return self.alive() is imgs and imgs._version == self.version
        same_kind = imgs.dtype == self.content.dtype and imgs.device == self.content.device
        return same_kind and torch.equal(imgs, self.content)


class Shareable(nn.Module):
    """A module whose ``forward`` stays its own."""

    def __setattr__(self, name: str, value: Any) -> None:
        # torchmetrics' FeatureShare puts a cache there that takes a reused buffer for the same images
        if name != "forward":
            super().__setattr__(name, value)


class Extractor(Protocol):
    """The parts of a :class:`DNAExtractor` that its pooled layers use."""

    neurons: Neurons

    def in_parts(self, imgs: Tensor) -> Activations:
        """Activations of images, some images after others."""

    def share_with(self, consumer: object) -> None:
        """Run the network once for all consumers that ask about the same images one after another."""


class PooledLayer(Shareable):
    """Spatial means of one layer of an extractor, shape ``(B, n)``, float32; see :meth:`DNAExtractor.pooled`.

    Attributes:
        num_features: The number of neurons n.

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
        """Spatial means for images as the extractor takes them."""
        pieces = [part[self.layer] for part in self.extractor.in_parts(imgs)]
        return torch.cat([piece.flatten(2).mean(2) if piece.ndim > 2 else piece for piece in pieces])

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.extractor.share_with(self)
