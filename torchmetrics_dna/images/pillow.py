"""Pillow's bicubic resize of 8-bit images, to the last bit, for tensors on any device."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BITS = 22  # of the fractions that Pillow computes with
_HALF = 1 << (_BITS - 1)
_SUPPORT = 2.0  # pixels of the bicubic kernel, on either side


def resize_bytes_image(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize an image by Pillow, rows before columns, as Pillow did in one call before it chose the order by size.

    Args:
        image: Shape ``(H, W, 3)``.
        size: Height and width of the result.

    """
    height, width = size
    resized = Image.fromarray(image).resize((width, len(image)), Image.Resampling.BICUBIC)
    return np.asarray(resized.resize((width, height), Image.Resampling.BICUBIC))


def resize_bytes(imgs: Tensor, size: tuple[int, int]) -> Tensor:
    """The same for a batch, on its device: antialiased bicubic, rounded after each of two passes.

    Sums of integers below 2^31 are exact in float64, so the result is the same on every device.

    Args:
        imgs: Shape ``(B, C, H, W)``, whole numbers from 0 to 255, of any type.
        size: Height and width of the result.

    Returns:
        float64, whole numbers from 0 to 255, shape ``(B, C, height, width)``.

    Example:
        >>> resize_bytes(torch.tensor([[[[0, 100], [100, 255]]]]), (1, 1))
        tensor([[[[114.]]]], dtype=torch.float64)

    """
    values = imgs.double()
    height, width = size
    if values.shape[3] != width:  # rows before columns
        values = _rounded(values @ _weights(values.shape[3], width, values.device).T)
    if values.shape[2] != height:
        values = _rounded(_weights(values.shape[2], height, values.device) @ values)
    return values


def _rounded(sums: Tensor) -> Tensor:
    return ((sums + _HALF) / (1 << _BITS)).floor().clamp(0, 255)


@lru_cache(32)
def _weights(given: int, wanted: int, device: torch.device) -> Tensor:
    """What each pixel of a row counts in each of the result, in fractions of 2^22, float64, ``(wanted, given)``."""
    scale = given / wanted
    stretch = max(scale, 1.0)  # the kernel covers all that becomes one pixel
    weights = np.zeros((wanted, given))
    for place in range(wanted):
        centre = (place + 0.5) * scale
        first = max(int(centre - _SUPPORT * stretch + 0.5), 0)
        last = min(int(centre + _SUPPORT * stretch + 0.5), given)
        values = _bicubic((np.arange(first, last, dtype=np.float64) - (centre - 0.5)) / stretch)
        fractions = values / values.sum() * (1 << _BITS)
        weights[place, first:last] = np.trunc(fractions + np.copysign(0.5, fractions))
    return torch.from_numpy(weights).to(device)


def _bicubic(x: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Keys' kernel of a = -1/2."""
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))
