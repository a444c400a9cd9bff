"""Preparation of images for a network: cropping, resizing and normalisation."""

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
class ImageArguments:
    """Arguments of an extractor about the preparation of images. Most of them may be None to keep a default.

    Attributes:
        crop: Crop of images before they are resized.
        input_size: Height and width, or one number for both.
        resize: Method of resizing.
        mean: Mean of each channel, or one number for all channels.
        std: Standard deviation of each channel, or one number for all channels.
        channels: Number of channels of images.

    """

    crop: Crop
    input_size: int | tuple[int, int] | None
    resize: Resize | None
    mean: float | Sequence[float] | None
    std: float | Sequence[float] | None
    channels: int


@dataclass(frozen=True)
class Preparation:
    """Preparation of images for a network.

    Attributes:
        size: Height and width to which images are resized, or None if they are not resized.
        crop: Crop of images before they are resized.
        resize: Method of resizing.
        mean: Mean of each channel, subtracted from images in [0, 1], or None if nothing is subtracted.
        std: Standard deviation of each channel, by which images are then divided, or None if they are not divided.
        channels: Number of channels of the network's input, or 0 for inputs that are not images.

    """

    size: tuple[int, int] | None = None
    crop: Crop = "none"
    resize: Resize = "clean"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channels: int = 3

    def with_arguments(self, name: str, arguments: ImageArguments, takes_rgb: bool) -> Preparation:
        """Return this preparation, changed by arguments of an extractor. An argument that is None changes nothing.

        Args:
            name: Name of the network, for messages.
            arguments: Arguments of the extractor.
            takes_rgb: Whether the network is one for RGB images.

        Raises:
            ValueError: If an argument has a wrong value, or the network does not accept this number of channels.

        """
        size = self.size if arguments.input_size is None else _size(arguments.input_size)
        _check_channels(name, arguments.channels, takes_rgb)
        # If the network takes RGB images, the channel of grey images is repeated.
        channels = 3 if takes_rgb else arguments.channels
        requested_mean = self.mean if arguments.mean is None else arguments.mean
        requested_std = self.std if arguments.std is None else arguments.std
        mean = _per_channel("mean", requested_mean, channels)
        std = _per_channel("std", requested_std, channels, must_be_positive=True)
        if mean is not None and max(mean) > 1:
            raise ValueError(
                f"Argument `mean` expected to be of images in [0, 1], but got {mean}; divide `mean` and `std` by 255"
            )
        if size is None:
            _check_no_resize(arguments.crop, arguments.resize)
        resize = arguments.resize or self.resize
        return Preparation(size, crop=arguments.crop, resize=resize, mean=mean, std=std, channels=channels)

    @property
    def is_none(self) -> bool:
        """True if images are neither resized nor normalised."""
        return self.size is None and self.mean is None and self.std is None

    def apply(self, imgs: Tensor, dtype: torch.dtype | None) -> Tensor:
        """Return a prepared copy of images, to which the network may write.

        The copy is contiguous, because torch rounds differently if the channels come last in memory.

        Args:
            imgs: Images: uint8, or floating point in [0, 1].
            dtype: Dtype of the network, or None to keep the dtype of the prepared images. If images are neither
                resized nor normalised, only floating point images are converted.

        """
        contiguous = torch.contiguous_format
        if self.is_none:
            is_converted = dtype is not None and imgs.is_floating_point()
            return imgs.to(dtype if is_converted else imgs.dtype, copy=True, memory_format=contiguous)
        size = self.size or (imgs.shape[2], imgs.shape[3])
        imgs = resize_tensor(imgs, size, self.crop, resize=self.resize)
        if self.mean is not None:
            imgs -= _on_device(self.mean, imgs.device)
        if self.std is not None:
            imgs /= _on_device(self.std, imgs.device)
        return imgs.to(dtype or imgs.dtype, memory_format=contiguous)

    def identity(self, precision: str | None) -> dict[str, Any]:
        """Return the settings on which activations depend, JSON-serializable.

        Args:
            precision: Precision of the network in words, or None for float32.

        """
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


def _check_channels(name: str, channels: int, takes_rgb: bool) -> None:
    """Raise ValueError unless a network accepts this number of channels."""
    if not isinstance(channels, int) or channels < 1:
        raise ValueError(f"Argument `channels` expected to be a positive integer, but got {channels!r}")
    if takes_rgb and channels not in (1, 3):
        raise ValueError(
            f"Argument `channels` expected to be 1 or 3 for {name}, which takes RGB, but got {channels};"
            " pass a module that takes so many"
        )


def _check_no_resize(crop: Crop, resize: Resize | None) -> None:
    """Raise ValueError if arguments about resizing were passed; for networks whose images are not resized."""
    if crop != "none":
        raise ValueError("Argument `crop` requires an `input_size`; this network takes images as they are")
    if resize:
        raise ValueError("Argument `resize` requires an `input_size`; this network takes images as they are")


def _size(value: Any) -> tuple[int, int]:
    """Return the height and width of the argument ``input_size``: a pair, or one number for both."""
    lengths = value if isinstance(value, Iterable) else (value, value)
    try:
        sides = tuple(index(side) for side in lengths)
    except TypeError:
        sides = ()
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(f"Argument `input_size` expected to be a height and width, or one number, but got {value!r}")
    return sides


def _per_channel(
    name: str, values: float | Sequence[float] | None, channels: int, must_be_positive: bool = False
) -> tuple[float, ...] | None:
    """Return the numbers of the argument ``mean`` or ``std``, one per channel, or None if it is None.

    Args:
        name: Name of the argument.
        values: One number per channel, or a single number for all channels.
        channels: Number of channels.
        must_be_positive: Whether all numbers must be positive.

    Raises:
        ValueError: If there are too many or too few numbers, or one is not valid.

    """
    if values is None:
        return None
    by_channel = values if isinstance(values, Iterable) else [values] * channels
    try:
        numbers = tuple(float(value) for value in by_channel)
    except (TypeError, ValueError):
        # The argument has no numbers, which is an error below.
        numbers = ()
    are_finite = len(numbers) == channels and all(isfinite(number) for number in numbers)
    if not are_finite or (must_be_positive and min(numbers) <= 0):
        expected = "positive numbers" if must_be_positive else "numbers"
        # The representation of a tensor may have several lines.
        got = " ".join(repr(numbers or values).split())
        raise ValueError(f"Argument `{name}` expected to have {channels} {expected}, but got {got}")
    return numbers


@lru_cache
def _on_device(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return constants on a device, cached because each copy to a device is a sync."""
    return torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]
