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
    """Preparation of images for a network.

    Attributes:
        size: Height and width that images are resized to; None to leave them as they are.
        crop: Crop of images before they are resized.
        resize: Method of resizing.
        mean: Mean per channel, subtracted from images in [0, 1].
        std: Standard deviation per channel, by which images are then divided.
        channels: Number of channels of the network's input; 0 for inputs that are no images.

    """

    size: tuple[int, int] | None = None
    crop: Crop = "none"
    resize: Resize = "clean"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channels: int = 3

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
        """Return this preparation with arguments of an extractor, of which those left out are None.

        Args:
            name: Name of the network.
            input_size: Height and width, or one number.
            crop: Crop; ``"none"`` if left out.
            resize: Method of resizing.
            mean: Mean per channel, or one number.
            std: Standard deviation per channel, or one number.
            channels: Number of channels of images.
            takes_rgb: Whether the network takes RGB images.

        Raises:
            ValueError: If an argument has a wrong value, or the network does not take this number of channels.

        """
        size = self.size if input_size is None else _size(input_size)
        if not isinstance(channels, int) or channels < 1:
            raise ValueError(f"Argument `channels` expected to be a positive integer, but got {channels!r}")
        if takes_rgb and channels not in (1, 3):
            raise ValueError(
                f"Argument `channels` expected to be 1 or 3 for {name}, which takes RGB, but got {channels};"
                " give a module that takes so many"
            )
        if takes_rgb:
            # Grey images are repeated.
            channels = 3
        mean = _per_channel("mean", self.mean if mean is None else mean, channels)
        std = _per_channel("std", self.std if std is None else std, channels)
        if mean is not None and max(mean) > 1:
            raise ValueError(
                f"Argument `mean` expected to be of images in [0, 1], but got {mean}; divide `mean` and `std` by 255"
            )
        if size is None:
            _check_no_resize(crop, resize)
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
            has_other_dtype = dtype is not None and imgs.is_floating_point()
            return imgs.to(dtype if has_other_dtype else imgs.dtype, copy=True, memory_format=contiguous)
        size = self.size or (imgs.shape[2], imgs.shape[3])
        imgs = resize_tensor(imgs, size, self.crop, resize=self.resize)
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
        if self.channels != 3:
            settings["channels"] = self.channels
        return settings


def _check_no_resize(crop: Crop, resize: Resize | None) -> None:
    """Raise ValueError if images are not resized, but arguments say how to resize them."""
    if crop != "none":
        raise ValueError("Argument `crop` goes with an `input_size`; this network takes images as they are")
    if resize:
        raise ValueError("Argument `resize` goes with an `input_size`; this network takes images as they are")


def _size(value: Any) -> tuple[int, int]:
    """Return the height and width that an argument gives: a pair, or one number for both."""
    lengths = value if isinstance(value, Iterable) else (value, value)
    try:
        sides = tuple(index(side) for side in lengths)
    except TypeError:
        sides = ()
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(f"Argument `input_size` expected to be a height and width, or one number, but got {value!r}")
    return sides


def _per_channel(name: str, values: float | Sequence[float] | None, channels: int) -> tuple[float, ...] | None:
    """Return the numbers of an argument, one for each channel; a single number is that of all channels."""
    if values is None:
        return None
    by_channel = values if isinstance(values, Iterable) else [values] * channels
    try:
        numbers = tuple(float(value) for value in by_channel)
    except (TypeError, ValueError):
        numbers = ()
    must_be_positive = name == "std"
    is_valid = len(numbers) == channels and all(isfinite(number) for number in numbers)
    if is_valid and must_be_positive:
        is_valid = min(numbers) > 0
    if not is_valid:
        expected = "positive numbers" if must_be_positive else "numbers"
        # The text of a tensor may have several lines.
        got = " ".join(repr(numbers or values).split())
        raise ValueError(f"Argument `{name}` expected to have {channels} {expected}, but got {got}")
    return numbers


@lru_cache
def _on_device(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Cache constants on the device, since copying them there is a device sync."""
    return torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]
