"""Channels of images: how many there may be, and what is done to each."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from torchmetrics_dna.extractors.build import Plan


def channels_of(plan: Plan, channels: int, properties: bool) -> tuple[tuple[int, ...], int]:
    """How many channels images may have, and how many the network gets.

    Raises:
        ValueError: If a network can't take so many, or properties are asked for, which are of RGB images.

    """
    if not isinstance(channels, int) or channels < 1:
        raise ValueError(f"Argument `channels` expected to be a positive integer, but got {channels!r}")
    known = plan.input_size is not None or plan.outputs == ()  # of RGB images
    if known or channels == 3:
        if channels not in (1, 3):
            raise ValueError(
                f"Argument `channels` expected to be 1 or 3 for {plan.name}, which takes RGB, but got {channels};"
                " give a module that takes so many"
            )
        return ((1, 3) if channels == 1 else (3,)), 3
    if properties:
        raise ValueError(f"Argument `properties` is for RGB images, but `channels` is {channels}; leave one out")
    return (channels,), channels


def check_per_channel(channels: int, **given: tuple[float, ...] | None) -> None:
    """ValueError unless what is given has a number for each channel."""
    for name, values in given.items():
        if values is not None and len(values) != channels:
            raise ValueError(f"Argument `{name}` expected to have {channels} numbers, but got {values}")


def standardised(imgs: Tensor, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> Tensor:
    """Images less a mean, divided by a deviation, per channel; either may be None."""
    if mean is not None:
        imgs = imgs - _per_channel(mean, imgs.device)
    return imgs if std is None else imgs / _per_channel(std, imgs.device)


@lru_cache
def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Constants that wait on the device, since sending them there would wait for it."""
    return torch.tensor(values, device=device)[:, None, None]
