"""Preparation of images for a network: its arguments, what it does to images, and how it is told from others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from operator import index
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from torchmetrics_dna.images.resize import Resize, resize_tensor

if TYPE_CHECKING:
    from torchmetrics_dna.images.cells import Crop


@dataclass(frozen=True)
class Preparation:
    """Preparation of images for a network."""

    size: tuple[int, int] | None = None  # height and width that images are resized to; None to leave them as they are
    crop: Crop = "none"  # before that
    resize: Resize = "clean"
    mean: tuple[float, ...] | None = None  # per channel, subtracted from images in [0, 1]
    std: tuple[float, ...] | None = None  # per channel, by which images are then divided
    channels: int = 3  # of the network's input; 0 for inputs that are no images

    def with_arguments(
        self,
        name: str,
        input_size: int | tuple[int, int] | None,
        crop: Crop,
        resize: Resize | None,
        mean: float | Sequence[float] | None,
        std: float | Sequence[float] | None,
        channels: int,
        takes_rgb: bool,
    ) -> Preparation:
        """Return this preparation for the network ``name``, with the arguments of an extractor that are given.

        ValueError if one has a wrong value, or the network does not take images of so many channels.
        """
        size = self.size if input_size is None else _size(input_size)
        if not isinstance(channels, int) or channels < 1:
            raise ValueError(f"Argument `channels` expected to be a positive integer, but got {channels!r}")
        if takes_rgb and channels not in (1, 3):
            raise ValueError(
                f"Argument `channels` expected to be 1 or 3 for {name}, which takes RGB, but got {channels};"
                " give a module that takes so many"
            )
        channels = 3 if takes_rgb else channels
        mean = _per_channel("mean", self.mean if mean is None else mean, channels)
        std = _per_channel("std", self.std if std is None else std, channels)
        if mean is not None and max(mean) > 1:
            raise ValueError(
                f"Argument `mean` expected to be of images in [0, 1], but got {mean}; divide `mean` and `std` by 255"
            )
        for argument, is_given in (("crop", crop != "none"), ("resize", resize)):
            if is_given and size is None:
                raise ValueError(
                    f"Argument `{argument}` goes with an `input_size`; this network takes images as they are"
                )
        return Preparation(size, crop, resize or self.resize, mean, std, channels)

    @property
    def is_none(self) -> bool:
        """True if the network takes images as they are."""
        return self.size is None and self.mean is None and self.std is None

    def apply(self, imgs: Tensor, dtype: torch.dtype | None) -> Tensor:
        """Return images as a network of this dtype takes them; a copy, since it may write to them.

        Images that are taken as they are keep their dtype, unless they are floating point, and another is given. The
        result is contiguous, since torch rounds differently for channels that come last in memory.
        """
        contiguous = torch.contiguous_format
        if self.is_none:
            kept = dtype if dtype and imgs.is_floating_point() else imgs.dtype
            return imgs.to(kept, copy=True, memory_format=contiguous)
        imgs = resize_tensor(imgs, self.size or (imgs.shape[2], imgs.shape[3]), self.crop, resize=self.resize)
        if self.mean is not None:
            imgs -= _on_device(self.mean, imgs.device)
        if self.std is not None:
            imgs /= _on_device(self.std, imgs.device)
        return imgs.to(dtype or imgs.dtype, memory_format=contiguous)

    def identity(self, precision: str | None) -> dict[str, Any]:
        """Return what tells activations of images prepared in this way from others, JSON-serializable."""
        settings: dict[str, Any] = {
            "resize": self.resize if self.size else "none",
            "input_size": self.size and list(self.size),
            "crop": self.crop,
            "mean": self.mean and list(self.mean),
            "std": self.std and list(self.std),
            "dtype": precision,
        }
        return settings | ({"channels": self.channels} if self.channels != 3 else {})


def _size(value: Any) -> tuple[int, int]:
    """Return the height and width that an argument gives."""
    try:
        sides = tuple(index(side) for side in (value if isinstance(value, Iterable) else (value, value)))
    except TypeError:
        sides = ()
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(f"Argument `input_size` expected to be a height and width, or one number, but got {value!r}")
    return sides


def _per_channel(name: str, values: float | Sequence[float] | None, channels: int) -> tuple[float, ...] | None:
    """Return the numbers of an argument, one for each channel; a single number is that of all channels."""
    if values is None:
        return None
    each = values if isinstance(values, Iterable) else [values] * channels
    try:
        numbers = tuple(float(value) for value in each)
    except (TypeError, ValueError):
        numbers = ()
    is_right = len(numbers) == channels and all(map(isfinite, numbers))
    if name == "std":
        is_right = is_right and min(numbers) > 0
    if not is_right:
        what = "positive numbers" if name == "std" else "numbers"
        # The text of a tensor may have several lines.
        got = " ".join(repr(numbers or values).split())
        raise ValueError(f"Argument `{name}` expected to have {channels} {what}, but got {got}")
    return numbers


@lru_cache
def _on_device(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Cache constants on the device, since copying them there is a device sync."""
    return torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]
