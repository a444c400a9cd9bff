"""Functions of states and configurations for the base class of metrics."""

from __future__ import annotations

import hashlib
import json
import sys
from functools import wraps
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch import distributed as dist

from torchmetrics_dna.dna.identity import check_same

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torchmetrics_dna.statistics import State, Statistic


def outside_graphs(call: Callable[..., Any]) -> Callable[..., Any]:
    """Break the graph of a compiled loop around a call, since it uses locks and weak references."""
    disabled: Callable[..., Any] | None = None

    @wraps(call)
    def checked(*args: Any, **kwargs: Any) -> Any:
        nonlocal disabled
        if "torch._dynamo" not in sys.modules:  # torch would load its compiler, which takes a second
            return call(*args, **kwargs)
        if disabled is None:
            disabled = torch.compiler.disable(call)  # type: ignore[no-untyped-call]
        return disabled(*args, **kwargs)

    return checked


def saved(statistic: Statistic, state: State) -> dict[str, Any]:
    """Return the entries of a state that a checkpoint stores as bytes: its lists of rows."""
    lists = [name for name, value in state.items() if isinstance(value, list)]
    packed = statistic.packed(state) if lists else {}
    return {name: packed[name].cpu().numpy().tobytes() for name in lists}


def loaded(statistic: Statistic, values: Mapping[str, Any]) -> State:
    """Return a copy of the state in a checkpoint: tensors, and bytes from :func:`saved`, by name."""
    empty = statistic.packed(statistic.empty("cpu"))
    tensors: dict[str, Tensor] = {}
    for name, value in values.items():
        if isinstance(value, Tensor):
            tensors[name] = value.detach().clone()
        elif value:
            tensors[name] = torch.frombuffer(bytearray(value), dtype=empty[name].dtype).view(-1, *empty[name].shape[1:])
        else:
            tensors[name] = empty[name]
    return statistic.unpacked(tensors)


def fingerprint(configuration: Mapping[str, Any]) -> Tensor:
    """Return the digest of a configuration, 32 bytes in an int64 tensor, as a state that torchmetrics can compare."""
    digest = hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).digest()
    return torch.tensor(list(digest), dtype=torch.int64)


def digest_of(weights: Tensor | None) -> str:
    """Return a digest of the weights, 16 hexadecimal digits, or 'none' without weights."""
    return "none" if weights is None else hashlib.sha256(repr(weights.tolist()).encode()).hexdigest()[:16]


def check_agreement(configuration: Mapping[str, Any], device: torch.device, group: Any) -> None:
    """Raise RuntimeError on every process of a group, naming the difference, unless all have one configuration."""
    own = fingerprint(configuration).to(device)
    fingerprints = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
    dist.all_gather(fingerprints, own, group=group)
    if all(torch.equal(each, own) for each in fingerprints):
        return
    configurations: list[Any] = [None] * len(fingerprints)
    dist.all_gather_object(configurations, dict(configuration), group=group)
    check_same("Processes hold metrics that can't be reduced together", *configurations, error=RuntimeError)
