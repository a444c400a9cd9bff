"""Share one forward pass between the metrics of a collection."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from torchmetrics_dna.extractors.compiled import outside_graphs
from torchmetrics_dna.extractors.modules import version_of
from torchmetrics_dna.extractors.views import View
from torchmetrics_dna.images.inputs import Inputs, tensors_of

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

    from torchmetrics_dna.extractors.base import DNAExtractor

Activations = Iterable[dict[str, "Tensor"]]  # of consecutive parts of a batch
NO_FEATURE_SHARE = (
    "torchmetrics' FeatureShare takes a batch that was written into the same tensor for the one before; use"
    " `torchmetrics_dna.SharedCollection`, which takes the same metrics, and runs the network once"
)


def shared_activations(extractor: DNAExtractor, inputs: Inputs, run: Callable[[Inputs], Activations]) -> Activations:
    """Return ``run(inputs)``, or what it gave another member in the same call of a :class:`SharedCollection`."""
    call = _CALL.get()
    return run(inputs) if call is None else call.activations(extractor, inputs, run)


def shared_fingerprint(
    extractor: DNAExtractor, form: Sequence[Any], take: Callable[[Sequence[Any]], dict[str, Any] | None]
) -> dict[str, Any] | None:
    """Return ``take(form)``, or what it gave another member in the same call of a :class:`SharedCollection`."""
    taken = {} if (call := _CALL.get()) is None else call.fingerprints
    key = extractor, tuple(form), extractor.weights_version
    if key not in taken:
        taken[key] = take(form)
    return taken[key]


def leaders(collection: MetricCollection) -> list[nn.Module]:
    """Return the members whose ``update`` a collection calls: the first of each compute group."""
    names = [group[0] for group in collection.compute_groups.values()] or collection.keys(keep_base=True)
    return [getattr(collection, str(name)) for name in names]


@contextmanager
def one_pass(members: Iterable[nn.Module]) -> Iterator[None]:
    """Let modules that have an extractor, or have modules that do, share its passes inside this context."""
    token = _CALL.set(_Call([*members]))
    try:
        yield
    finally:
        _CALL.reset(token)


class _Pass(NamedTuple):
    """Activations of inputs, with what they depend on, and how many members have yet to ask for them."""

    tensors: list[Tensor]  # of the inputs; on the CPU copies, to which nobody can write
    versions: list[int | None]
    weights: Hashable
    activations: Activations
    remaining: int

    def is_of(self, tensors: list[Tensor], weights: Hashable) -> bool:
        """True for equal inputs and weights. On devices, where a comparison is a sync, tensors must be the same."""
        if self.weights != weights or len(tensors) != len(self.tensors):
            return False
        pairs = list(zip(tensors, self.tensors, strict=True))
        if tensors[0].device.type != "cpu":
            return all(a is b for a, b in pairs) and list(map(version_of, tensors)) == self.versions
        return all(a.dtype == b.dtype and a.device == b.device and torch.equal(a, b) for a, b in pairs)


class _Call:
    """The forward passes of one call of a collection; each is dropped once all members had it, or the call ends."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        self._members = members
        self._passes: dict[DNAExtractor, _Pass] = {}
        self.fingerprints: dict[Hashable, dict[str, Any] | None] = {}

    def activations(self, extractor: DNAExtractor, inputs: Inputs, run: Callable[[Inputs], Activations]) -> Activations:
        tensors = tensors_of(inputs)
        latest, weights = self._passes.pop(extractor, None), extractor.weights_version
        if latest is None or not latest.is_of(tensors, weights):
            modules = (module for member in self._members for module in member.modules())
            asking = sum(module._modules.get("extractor", 0) is extractor for module in modules)
            if asking < 2:
                return run(inputs)
            compared = [each.detach().clone() if each.device.type == "cpu" else each for each in tensors]
            activations = list(run(inputs))  # which may first arrange the weights anew
            versions = [*map(version_of, tensors)]
            latest = _Pass(compared, versions, extractor.weights_version, activations, asking)
        if latest.remaining > 1:
            self._passes[extractor] = latest._replace(remaining=latest.remaining - 1)
        return latest.activations


_CALL: ContextVar[_Call | None] = ContextVar("call of a collection", default=None)


class PooledLayer(nn.Module):
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

    @outside_graphs
    def forward(self, imgs: Inputs) -> Tensor:
        """Compute spatial means for images, or other inputs, that the extractor accepts."""
        mean = View(self.layer, ("mean",))
        return torch.cat([mean.take(part[self.layer]).float() for part in self.extractor.in_parts(imgs)])

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "forward":  # FeatureShare puts its cache there
            raise RuntimeError(NO_FEATURE_SHARE)
        super().__setattr__(name, value)
