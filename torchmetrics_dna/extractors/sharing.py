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
    """Return the activations of a batch, computed once per call of a :class:`SharedCollection`.

    If another metric of the collection has already computed them in the same call, they are reused.

    Args:
        extractor: Extractor that the metrics share.
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
    """Return the fingerprint of a network, taken once per call of a :class:`SharedCollection`.

    Args:
        extractor: Extractor that the metrics share.
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
    """Return the metrics whose ``update`` a collection calls: the first one of each compute group."""
    names: list[Hashable] = [group[0] for group in collection.compute_groups.values()]
    if not names:
        # Without compute groups, the collection updates all metrics.
        names = list(collection.keys(keep_base=True))
    return [getattr(collection, str(name)) for name in names]


@contextmanager
def one_pass(members: Iterable[nn.Module]) -> Iterator[None]:
    """Share the forward passes of an extractor between modules within the context.

    Args:
        members: Modules that have an extractor, or whose submodules have one.

    """
    token = _CALL.set(_Call([*members]))
    try:
        yield
    finally:
        _CALL.reset(token)


class _Pass(NamedTuple):
    """Activations of a batch, with the inputs and weights from which they were computed.

    Attributes:
        tensors: Tensors of the inputs. On the CPU, these are copies, so that nobody else can write to them.
        versions: torch's counter of writes to each tensor of the inputs.
        weights: Snapshot of the weights.
        activations: The activations.
        remaining: Number of metrics that have not requested the activations yet.

    """

    tensors: list[Tensor]
    versions: list[int | None]
    weights: Hashable
    activations: Activations
    remaining: int

    def is_of(self, tensors: list[Tensor], weights: Hashable) -> bool:
        """True if the activations are those of these inputs and weights.

        On the CPU, the values of the inputs are compared. On accelerators, the inputs must be the same tensors, because
        comparing values is a device sync.
        """
        if self.weights != weights or len(tensors) != len(self.tensors):
            return False
        pairs = list(zip(tensors, self.tensors, strict=True))
        if tensors[0].device.type == "cpu":
            return all(_are_equal(a, b) for a, b in pairs)
        are_same = all(a is b for a, b in pairs)
        return are_same and _versions(tensors) == self.versions


def _are_equal(a: Tensor, b: Tensor) -> bool:
    """True if two tensors have the same dtype, device and values."""
    return a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)


def _copied_on_cpu(tensor: Tensor) -> Tensor:
    """Return a copy of a tensor on the CPU; other tensors are not copied."""
    return tensor.detach().clone() if tensor.device.type == "cpu" else tensor


def _versions(tensors: Iterable[Tensor]) -> list[int | None]:
    """Return torch's counter of writes to each tensor."""
    return [version_of(tensor) for tensor in tensors]


class _Call:
    """Forward passes and fingerprints of one call of a collection.

    The activations of a pass are released when all metrics have requested them, or when the call ends.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        self._members = members
        self._passes: dict[nn.Module, _Pass] = {}
        self.fingerprints: dict[Hashable, dict[str, Any] | None] = {}

    def activations(
        self, extractor: nn.Module, watch: Watch, inputs: Inputs, run: Callable[[Inputs], Activations]
    ) -> Activations:
        """Return the activations of an earlier pass with equal inputs and weights, or of a new pass."""
        tensors = tensors_of(inputs)
        shared = self._passes.pop(extractor, None)
        if shared is None or not shared.is_of(tensors, watch.snapshot()):
            num_members = self._count_members(extractor)
            if num_members < 2:
                # No other metric will request the activations, so they are not kept.
                return run(inputs)
            shared = _new_pass(watch, inputs, run, num_members)
        # The metric that requests the activations last releases them.
        if shared.remaining > 1:
            self._passes[extractor] = shared._replace(remaining=shared.remaining - 1)
        return shared.activations

    def _count_members(self, extractor: nn.Module) -> int:
        """Return the number of modules within the members that have this extractor."""
        count = 0
        for member in self._members:
            count += sum(module._modules.get("extractor") is extractor for module in member.modules())
        return count


def _new_pass(watch: Watch, inputs: Inputs, run: Callable[[Inputs], Activations], num_members: int) -> _Pass:
    """Compute the activations of a batch for this number of metrics."""
    tensors = tensors_of(inputs)
    copies = [_copied_on_cpu(tensor) for tensor in tensors]
    activations = list(run(inputs))
    # Take the snapshot after the pass, which may move the weights in memory.
    weights = watch.snapshot()
    return _Pass(copies, _versions(tensors), weights, activations, remaining=num_members)


_CALL: ContextVar[_Call | None] = ContextVar("call of a collection", default=None)
