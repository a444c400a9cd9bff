"""Share one forward pass between the metrics of a collection."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from torchmetrics_dna.extractors.views import View
from torchmetrics_dna.images.inputs import tensors_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from torch import Tensor

    from torchmetrics_dna.extractors.base import DNAExtractor
    from torchmetrics_dna.images.inputs import Inputs

Activations = Iterable[dict[str, "Tensor"]]  # of consecutive parts of a batch


def shared(extractor: DNAExtractor, inputs: Inputs, run: Callable[[Inputs], Activations]) -> Activations:
    """Return ``run(inputs)``, or what it gave another member in the same call of a collection.

    Metrics outside of collections run the network each.
    """
    call = _CALL.get()
    return run(inputs) if call is None else call.activations(extractor, inputs, run)


def share_in_collections() -> None:
    """Let the members of a ``MetricCollection`` share forward passes within each of its calls.

    torchmetrics tells a metric neither that it is in a collection, nor when a call of it begins or ends. So ``update``
    and ``forward`` of the class are wrapped, once in a process, to note that they run; they do the same as before.
    """
    from torchmetrics import MetricCollection

    for name in ("update", "forward"):
        method = getattr(MetricCollection, name)
        if not hasattr(method, "notes_calls"):
            setattr(MetricCollection, name, _noting_calls(method, only_leaders=name == "update"))


def _noting_calls(method: Callable[..., Any], only_leaders: bool) -> Callable[..., Any]:
    @wraps(method)
    def noted(collection: Any, *args: Any, **kwargs: Any) -> Any:
        # `update` reaches only the first member of each group
        groups = collection.compute_groups.values() if only_leaders else ()
        names = [group[0] for group in groups] or collection.keys(keep_base=True)
        token = _CALL.set(_Call([getattr(collection, str(name)) for name in names]))
        try:
            return method(collection, *args, **kwargs)
        finally:
            _CALL.reset(token)

    noted.notes_calls = True  # type: ignore[attr-defined]
    return noted


class _Pass(NamedTuple):
    """Activations of inputs, with what they depend on, and how many members have yet to ask for them."""

    tensors: list[Tensor]  # of the inputs; on the CPU copies, to which nobody can write
    versions: list[int | None]
    weights: Hashable
    activations: Activations
    due: int

    def is_of(self, tensors: list[Tensor], weights: Hashable) -> bool:
        """True for equal inputs and weights. On devices, where a comparison is a sync, tensors must be the same."""
        if self.weights != weights or len(tensors) != len(self.tensors):
            return False
        pairs = list(zip(tensors, self.tensors, strict=True))
        if tensors[0].device.type != "cpu":
            return all(a is b for a, b in pairs) and list(map(_version, tensors)) == self.versions
        return all(a.dtype == b.dtype and a.device == b.device and torch.equal(a, b) for a, b in pairs)


class _Call:
    """The forward passes of one call of a collection; each is dropped once all members had it, or the call ends."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        self._members = members
        self._passes: dict[DNAExtractor, _Pass] = {}

    def activations(self, extractor: DNAExtractor, inputs: Inputs, run: Callable[[Inputs], Activations]) -> Activations:
        tensors = tensors_of(inputs)
        latest, weights = self._passes.pop(extractor, None), extractor.weights_version
        if latest is None or not latest.is_of(tensors, weights):
            asking = [
                m for member in self._members for m in member.modules() if getattr(m, "extractor", 0) is extractor
            ]
            if len(asking) < 2:
                return run(inputs)
            compared = [each.detach().clone() if each.device.type == "cpu" else each for each in tensors]
            activations = list(run(inputs))  # which may first arrange the weights anew
            latest = _Pass(compared, [*map(_version, tensors)], extractor.weights_version, activations, due=len(asking))
        if latest.due > 1:
            self._passes[extractor] = latest._replace(due=latest.due - 1)
        return latest.activations


_CALL: ContextVar[_Call | None] = ContextVar("call of a collection", default=None)


def _version(tensor: Tensor) -> int | None:
    return None if tensor.is_inference() else tensor._version


class Shareable(nn.Module):
    """Module whose ``forward`` can't be replaced."""

    def __setattr__(self, name: str, value: Any) -> None:
        # torchmetrics' FeatureShare replaces it by a cache that mistakes a reused buffer for the same images
        if name != "forward":
            super().__setattr__(name, value)


class PooledLayer(Shareable):
    """Module of the spatial means of one layer, shape ``(B, n)``, float32; see :meth:`DNAExtractor.pooled`.

    Attributes:
        num_features: Number of neurons n.

    """

    def __init__(self, extractor: DNAExtractor, layer: str) -> None:
        super().__init__()
        if layer not in extractor.neurons:
            raise ValueError(f"Unknown layer {layer!r}; the layers are: {', '.join(extractor.neurons)}")
        self.extractor = extractor
        self.layer = layer
        self.num_features = extractor.neurons[layer]
        share_in_collections()

    def forward(self, imgs: Inputs) -> Tensor:
        """Compute spatial means for images, or other inputs, that the extractor accepts."""
        mean = View(self.layer, ("mean",))
        return torch.cat([mean.take(part[self.layer]).float() for part in self.extractor.in_parts(imgs)])

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        share_in_collections()
