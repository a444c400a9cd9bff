"""Channels of images: allowed numbers, and normalization per channel."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
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


def check_per_channel(channels: int, **values_by_name: tuple[float, ...] | None) -> None:
    """Raise ValueError unless each argument has a number for each channel."""
    for name, values in values_by_name.items():
        if values is not None and len(values) != channels:
            raise ValueError(f"Argument `{name}` expected to have {channels} numbers, but got {values}")


def standardised(imgs: Tensor, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> Tensor:
    """Subtract a mean and divide by a standard deviation per channel; either may be None."""
    if mean is not None:
        imgs = imgs - _per_channel(mean, imgs.device)
    return imgs if std is None else imgs / _per_channel(std, imgs.device)


@lru_cache
def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Cache constants on the device, since copying them there is a device sync."""
    return torch.tensor(values, device=device)[:, None, None]
