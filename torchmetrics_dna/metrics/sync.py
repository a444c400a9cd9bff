"""Agreement between processes before anything is reduced."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch import distributed as dist

if TYPE_CHECKING:
    from collections.abc import Mapping


def fingerprint(configuration: Mapping[str, Any]) -> Tensor:
    """32 bytes of a configuration as a state that torchmetrics can compare, int64."""
    digest = hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).digest()
    return torch.tensor(list(digest), dtype=torch.int64)


def digest_of(weights: Tensor | None) -> str | None:
    """16 hexadecimal digits of weights, for a configuration."""
    return None if weights is None else hashlib.sha256(repr(weights.tolist()).encode()).hexdigest()[:16]


def check_agreement(configuration: Mapping[str, Any], device: torch.device, group: Any) -> None:
    """RuntimeError on every process, naming what differs, unless all processes hold the same configuration.

    Args:
        configuration: What must be equal.
        device: What the group communicates on.
        group: The processes; None for all.

    """
    mine = fingerprint(configuration).to(device)
    every = [torch.empty_like(mine) for _ in range(dist.get_world_size(group))]
    dist.all_gather(every, mine, group=group)
    if all(torch.equal(other, mine) for other in every):
        return
    told: list[Any] = [None] * len(every)
    dist.all_gather_object(told, dict(configuration), group=group)
    raise RuntimeError(f"Processes hold metrics that can't be reduced together: {differences(told)}")


def differences(configurations: list[dict[str, Any]]) -> str:
    """The entries that are not equal in all configurations, in one line."""
    keys = dict.fromkeys(key for configuration in configurations for key in configuration)
    parts = []
    for key in keys:
        values = [configuration.get(key) for configuration in configurations]
        if any(value != values[0] for value in values):
            parts.append(f"{key}: {' and '.join(str(value) for value in dict.fromkeys(map(str, values)))}")
    return "; ".join(parts)
