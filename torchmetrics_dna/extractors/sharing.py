"""Share one forward pass between the metrics of a collection."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from torchmetrics_dna.extractors.modules import version_of
from torchmetrics_dna.images.inputs import Inputs, tensors_of

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

    from torchmetrics_dna.extractors.watch import Watch

# Activations of consecutive parts of a batch.
Activations = Iterable[dict[str, Tensor]]
NO_FEATURE_SHARE = (
    "torchmetrics' FeatureShare takes a batch that was written into the same tensor for the one before; use"
    " `torchmetrics_dna.SharedCollection`, which takes the same metrics, and runs the network once"
)


def shared_activations(
    extractor: nn.Module, watch: Watch, inputs: Inputs, run: Callable[[Inputs], Activations]
) -> Activations:
    """Return ``run(inputs)``, or what it gave another member in the same call of a :class:`SharedCollection`.

    Args:
        extractor: Extractor that members share.
        watch: Weights of its network.
        inputs: Batch of inputs.
        run: Function that returns the activations of the batch.

    """
    call = _CALL.get()
    if call is None:
        return run(inputs)
    return call.activations(extractor, watch, inputs, run)


def shared_fingerprint(
    extractor: nn.Module,
    watch: Watch,
    form: Sequence[Any],
    take: Callable[[Sequence[Any]], dict[str, Any] | None],
) -> dict[str, Any] | None:
    """Return ``take(form)``, or what it gave another member in the same call of a :class:`SharedCollection`.

    Args:
        extractor: Extractor that members share.
        watch: Weights of its network.
        form: Form of the fixed input.
        take: Function that returns the fingerprint for a fixed input of this form.

    """
    call = _CALL.get()
    if call is None:
        return take(form)
    key = (extractor, tuple(form), watch.snapshot())
    if key not in call.fingerprints:
        call.fingerprints[key] = take(form)
    return call.fingerprints[key]


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
    """Activations of inputs, with what they depend on.

    Attributes:
        tensors: Tensors of the inputs; on the CPU copies, to which nobody can write.
        versions: Torch's counter of writes to each tensor of the inputs.
        weights: Snapshot of the weights.
        activations: The activations.
        remaining: Number of members that have yet to get them.

    """

    tensors: list[Tensor]
    versions: list[int | None]
    weights: Hashable
    activations: Activations
    remaining: int

    def is_of(self, tensors: list[Tensor], weights: Hashable) -> bool:
        """True for equal inputs and weights. On devices, where a comparison is a sync, tensors must be the same."""
        if self.weights != weights or len(tensors) != len(self.tensors):
            return False
        pairs = list(zip(tensors, self.tensors, strict=True))
        if tensors[0].device.type == "cpu":
            return all(a.dtype == b.dtype and a.device == b.device and torch.equal(a, b) for a, b in pairs)
        are_same = all(a is b for a, b in pairs)
        return are_same and _versions(tensors) == self.versions


def _versions(tensors: Iterable[Tensor]) -> list[int | None]:
    """Return torch's counter of writes to each tensor."""
    return [version_of(tensor) for tensor in tensors]


class _Call:
    """Forward passes of one call of a collection.

    Each pass is dropped once all members had it, or when the call ends.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        self._members = members
        self._passes: dict[nn.Module, _Pass] = {}
        self.fingerprints: dict[Hashable, dict[str, Any] | None] = {}

    def activations(
        self, extractor: nn.Module, watch: Watch, inputs: Inputs, run: Callable[[Inputs], Activations]
    ) -> Activations:
        """Return the activations of the pass that another member began with equal inputs, or of a new one."""
        tensors = tensors_of(inputs)
        shared = self._passes.pop(extractor, None)
        if shared is None or not shared.is_of(tensors, watch.snapshot()):
            num_members = self._count_members(extractor)
            if num_members < 2:
                return run(inputs)
            compared = [tensor.detach().clone() if tensor.device.type == "cpu" else tensor for tensor in tensors]
            activations = list(run(inputs))
            # Take the snapshot after the pass, which may move the weights in memory.
            shared = _Pass(compared, _versions(tensors), watch.snapshot(), activations, num_members)
        if shared.remaining > 1:
            self._passes[extractor] = shared._replace(remaining=shared.remaining - 1)
        return shared.activations

    def _count_members(self, extractor: nn.Module) -> int:
        """Return the number of members that have this extractor, or of modules within them that do."""
        modules = [module for member in self._members for module in member.modules()]
        return sum(module._modules.get("extractor") is extractor for module in modules)


_CALL: ContextVar[_Call | None] = ContextVar("call of a collection", default=None)
