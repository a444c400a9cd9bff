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

_BITS = 22  # of Pillow's fixed-point weights
_HALF = 1 << (_BITS - 1)
_SUPPORT = 2.0  # pixels of the bicubic kernel, on either side


def resize_bytes_image(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize an image by Pillow, rows before columns, which newer versions of Pillow reorder by size.

    Args:
        image: Image, shape ``(H, W, 3)``.
        size: Height and width of the result.

    """
    height, width = size
    resized = Image.fromarray(image).resize((width, len(image)), Image.Resampling.BICUBIC)
    return np.asarray(resized.resize((width, height), Image.Resampling.BICUBIC))


def resize_bytes(imgs: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a batch like :func:`resize_bytes_image`, on its device: antialiased bicubic, rounded after each pass.

    Sums of integers below 2^31 are exact in float64, so the result is equal on all devices.

    Args:
        imgs: Images ``(B, C, H, W)``, integers from 0 to 255, of any dtype.
        size: Height and width of the result.

    Returns:
        Images, float64 integers from 0 to 255, shape ``(B, C, height, width)``.

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
def _weights(num_in: int, num_out: int, device: torch.device) -> Tensor:
    """Return the weights of input pixels for each output pixel, in units of 2^-22, float64, ``(num_out, num_in)``."""
    scale = num_in / num_out
    stretch = max(scale, 1.0)  # antialiasing widens the kernel when shrinking
    weights = np.zeros((num_out, num_in))
    for pixel in range(num_out):
        centre = (pixel + 0.5) * scale
        first = max(int(centre - _SUPPORT * stretch + 0.5), 0)
        last = min(int(centre + _SUPPORT * stretch + 0.5), num_in)
        values = _bicubic((np.arange(first, last, dtype=np.float64) - (centre - 0.5)) / stretch)
        fractions = values / values.sum() * (1 << _BITS)
        weights[pixel, first:last] = np.trunc(fractions + np.copysign(0.5, fractions))
    return torch.from_numpy(weights).to(device)


def _bicubic(x: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Evaluate Keys' cubic kernel with a = -1/2."""
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))
