"""Channels of images: allowed numbers, and normalization per channel."""

from __future__ import annotations

from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from torchmetrics_dna.extractors.build import Plan


def channels_of(plan: Plan, channels: int, properties: bool) -> tuple[tuple[int, ...], int]:
    """Return the allowed numbers of channels of images, and the number of channels of the network's input.

    Raises:
        ValueError: If a network does not support ``channels``, or properties are requested for other than RGB images.

    """
    if not isinstance(channels, int) or channels < 1:
        raise ValueError(f"Argument `channels` expected to be a positive integer, but got {channels!r}")
    is_rgb = plan.input_size is not None or plan.outputs == ()
    if is_rgb or channels == 3:
        if channels not in (1, 3):
            raise ValueError(
                f"Argument `channels` expected to be 1 or 3 for {plan.name}, which takes RGB, but got {channels};"
                " give a module that takes so many"
            )
        return ((1, 3) if channels == 1 else (3,)), 3
    if properties:
        raise ValueError(f"Argument `properties` is for RGB images, but `channels` is {channels}; leave one out")
    return (channels,), channels


def per_channel(name: str, values: Sequence[float] | None, channels: int) -> tuple[float, ...] | None:
    """Return the numbers of an argument, one for each channel; None for None.

    Raises:
        ValueError: If they are something else.

    """
    if values is None:
        return None
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != channels or not all(map(isfinite, numbers)) or (name == "std" and min(numbers) <= 0):
        what = "positive numbers" if name == "std" else "numbers"
        raise ValueError(f"Argument `{name}` expected to have {channels} {what}, but got {numbers or values!r}")
    return numbers


def standardised(imgs: Tensor, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> Tensor:
    """Subtract a mean and divide by a standard deviation per channel; either may be None."""
    if mean is not None:
        imgs = imgs - _per_channel(mean, imgs.device)
    return imgs if std is None else imgs / _per_channel(std, imgs.device)


@lru_cache
def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Cache constants on the device, since copying them there is a device sync."""
    return torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]
