"""Functions of states and identities for the base class of metrics."""

from __future__ import annotations

import hashlib
import json
import sys
from functools import wraps
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch import distributed as dist

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn

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


UNKNOWN = "0" * 16  # in place of a digest, where no image was counted


def digest_of_settings(settings: Mapping[str, Any]) -> str:
    """Return a digest of settings, 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def as_bytes(*digests: str) -> Tensor:
    """Return digests as a state that torchmetrics can compare: 8 numbers of a byte each, int64, on the CPU."""
    return torch.tensor(list(bytes.fromhex("".join(digests))), dtype=torch.int64)


def as_digests(numbers: Tensor) -> list[str]:
    """Return the digests in a state from :func:`as_bytes`."""
    digits = bytes(numbers.tolist()).hex()
    return [digits[start : start + 16] for start in range(0, len(digits), 16)]


def sample_of(network: nn.Module, device: torch.device) -> Tensor:
    """Return a number that depends on a value of each tensor of a network, int64, ``(1,)``, on the device."""
    tensors = [
        each for each in chain(network.parameters(), network.buffers()) if each.numel() and each.device == device
    ]
    values = [each.detach().as_strided((1,), (1,)).double() for each in tensors]
    bits = torch.cat([*values, torch.zeros(1, dtype=torch.float64, device=device)]).view(torch.int64)
    factors = torch.arange(1, 2 * len(bits), 2, device=device)  # odd, so that no bit is lost
    return (bits * factors).sum(0, keepdim=True) >> 2  # so that its negative is a number, too


def digest_of(weights: Tensor | None) -> str:
    """Return a digest of the weights, 16 hexadecimal digits, or 'none' without weights."""
    return "none" if weights is None else hashlib.sha256(repr(weights.tolist()).encode()).hexdigest()[:16]


def of_all_processes(own: Mapping[str, Any], device: torch.device, group: Any) -> list[Mapping[str, Any]]:
    """Return the values of all processes, or only one's if all are equal; one all-gather of digests tells that."""
    digest = as_bytes(digest_of_settings(own)).to(device)
    digests = [torch.empty_like(digest) for _ in range(dist.get_world_size(group))]
    dist.all_gather(digests, digest, group=group)
    if all(torch.equal(each, digest) for each in digests):
        return [own]
    everyone: list[Any] = [None] * len(digests)
    dist.all_gather_object(everyone, dict(own), group=group)
    return everyone
