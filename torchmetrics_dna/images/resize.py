"""Resize images: three methods are antialiased and bicubic, and differ in rounding and clipping.

``"clean"`` (Parmar et al., CVPR 2022) computes in float and clips to [0, 1], ``"torch"`` does not clip, and
``"pillow"`` rounds to bytes, like Pillow with 8-bit images. ``"clean"`` and ``"pillow"`` use Pillow, and resize rows
before columns for any version of it; newer versions alone would choose the order by size. ``"tensorflow"`` is bilinear
without antialiasing, aligned to the upper left corner, as in TensorFlow 1, with which FID was published.

There are two equivalent forms: for decoded images in loader workers, and for batches of tensors on their device. Sizes
are ``(height, width)``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from torchmetrics_dna.images.cells import Crop, seen_of
from torchmetrics_dna.images.fast import compiled_images
from torchmetrics_dna.images.pixels import Pixels, as_bytes
from torchmetrics_dna.images.tensors import lacks_float64

Resize = Literal["clean", "torch", "pillow", "tensorflow"]
RESIZES: tuple[Resize, ...] = get_args(Resize)
# Number of fraction bits of Pillow's fixed-point weights.
_BITS = 22
_HALF = 1 << (_BITS - 1)
# Number of channels.
_RGB = 3
# Number of pixels of the bicubic kernel on either side.
_SUPPORT = 2.0


def resize_image(
    image: Pixels, size: tuple[int, int], crop: Crop = "none", resize: Resize = "clean"
) -> NDArray[np.float32]:
    """Resize an image ``(H, W, C)``, uint8 or float32 in [0, 1], by default like the official mode 'clean'.

    With ``crop="center"`` it is cropped to the largest central square first. The result is float32 in [0, 1]
    (``"torch"``: also a little beyond), shape ``(C, height, width)``.
    """
    top, left, rows, columns = seen_of(image.shape[0], image.shape[1], crop)
    image = image[top : top + rows, left : left + columns]
    if resize == "pillow":
        resized_bytes = _by_pillow(np.ascontiguousarray(as_bytes(image)), size).transpose(2, 0, 1)
        scaled: NDArray[np.float32] = np.divide(resized_bytes, np.float32(255), dtype=np.float32, order="C")
        return scaled
    if resize in ("torch", "tensorflow"):
        batch = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
        return np.asarray(resize_tensor(batch, size, resize=resize)[0].numpy())
    height, width = size
    is_covered = image.dtype == np.uint8 and image.shape[2] == _RGB and image.shape[:2] != size
    compiled = compiled_images() if is_covered else None
    if compiled is not None:
        resized_clean: NDArray[np.float32] = compiled.resize_clean(image, size)
        return resized_clean
    resized = np.empty((image.shape[2], height, width), np.float32)
    white = np.float32(255 if image.dtype == np.uint8 else 1)
    # Resize channel by channel, for cache locality.
    for channel, out in zip(image.transpose(2, 0, 1), resized, strict=True):
        values = np.divide(channel, white, dtype=np.float32, order="C")
        if values.shape != size:
            values = _by_pillow(values, size)
        values.clip(0, 1, out=out)
    return resized


def resize_tensor(imgs: Tensor, size: tuple[int, int], crop: Crop = "none", *, resize: Resize) -> Tensor:
    """Resize a batch on its device; equals :func:`resize_image` to 1e-5 for 'clean', exactly for others.

    Images are ``(B, C, H, W)``, uint8 or floating point in [0, 1]; the result, float32 as there, is a copy.

    Example:
        >>> resize_tensor(torch.full((1, 3, 5, 7), 51, dtype=torch.uint8), (2, 2), resize="clean")[0, 0]
        tensor([[0.2000, 0.2000],
                [0.2000, 0.2000]])

    """
    top, left, rows, columns = seen_of(imgs.shape[-2], imgs.shape[-1], crop)
    imgs = imgs[..., top : top + rows, left : left + columns]
    if resize == "pillow":
        return _resize_like_pillow(imgs, size)
    if resize == "tensorflow":
        return _resize_like_tensorflow(imgs, size)
    is_resized = imgs.shape[-2:] != size
    values = imgs.to(torch.float32, copy=not is_resized)
    if imgs.dtype == torch.uint8:
        values /= 255
    if is_resized:
        values = interpolate(values, size, mode="bicubic", align_corners=False, antialias=True)
    return values if resize == "torch" else values.clamp_(0, 1)


def _resize_like_pillow(imgs: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize like :func:`_by_pillow`: antialiased bicubic, rows before columns, rounded to bytes after each pass."""
    bytes_ = imgs if imgs.dtype == torch.uint8 else (imgs * 255).round()
    if lacks_float64(imgs.device):
        bytes_ = bytes_.cpu()
    # Sums of integers below 2^31 are exact in float64, so they are equal on all devices.
    sums = bytes_.double()
    height, width = size
    if sums.shape[3] != width:
        sums = _rounded(sums @ _weights(sums.shape[3], width, sums.device).T)
    if sums.shape[2] != height:
        sums = _rounded(_weights(sums.shape[2], height, sums.device) @ sums)
    return sums.float().to(imgs.device) / 255


def _resize_like_tensorflow(imgs: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize like TensorFlow 1: bilinear without antialiasing, aligned to the upper left corner."""
    height, width = size
    resized = imgs.float() if imgs.dtype == torch.uint8 else imgs.float() * 255
    for axis, length in ((3, width), (2, height)):
        last = resized.shape[axis] - 1
        # Like TensorFlow 1, sample at multiples of the ratio of the sizes, computed in float32.
        ratio = torch.tensor((last + 1) / length)
        places = torch.arange(length, dtype=torch.float32, device=imgs.device) * ratio
        lower = places.long()
        upper = (lower + 1).clamp(max=last)
        num_axes_after = 3 - axis
        shares_of_upper = (places - lower).view(-1, *[1] * num_axes_after)
        low = resized.index_select(axis, lower)
        high = resized.index_select(axis, upper)
        resized = low + (high - low) * shares_of_upper
    return resized / 255


def check_resize(crop: str, resize: str | None) -> None:
    """Raise ValueError unless crop and resize are valid; resize may be None."""
    if crop not in get_args(Crop):
        raise ValueError(f"Argument `crop` expected to be 'none' or 'center', but got {crop!r}")
    if resize not in (None, *RESIZES):
        choices = ", ".join(map(repr, RESIZES))
        raise ValueError(f"Argument `resize` expected to be one of {choices}, but got {resize!r}")


def _by_pillow(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Resize an image by Pillow, rows before columns, in two calls: newer versions choose the order by size."""
    height, width = size
    # Resize other channels one by one: Pillow would weight the colours of RGBA by alpha.
    if image.shape[2:] not in ((), (_RGB,)):
        return np.stack([_by_pillow(channel, size) for channel in image.transpose(2, 0, 1)], 2)
    resized = Image.fromarray(image).resize((width, len(image)), Image.Resampling.BICUBIC)
    return np.asarray(resized.resize((width, height), Image.Resampling.BICUBIC))


def _rounded(sums: Tensor) -> Tensor:
    """Round fixed-point sums to bytes."""
    return ((sums + _HALF) / (1 << _BITS)).floor().clamp(0, 255)


@lru_cache(32)
def _weights(num_in: int, num_out: int, device: torch.device) -> Tensor:
    """Return the weights of input pixels for each output pixel, in units of 2^-22, float64, ``(num_out, num_in)``."""
    weights = np.zeros((num_out, num_in))
    for row, (first, kernel) in zip(weights, kernels(num_in, num_out), strict=True):
        fractions = kernel * (1 << _BITS)
        row[first : first + len(kernel)] = np.trunc(fractions + np.copysign(0.5, fractions))
    return torch.from_numpy(weights).to(device)


def kernels(num_in: int, num_out: int) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield the first input pixel of each output pixel, and the weights of it and the next ones, as Pillow has them."""
    scale = num_in / num_out
    # Antialiasing widens the kernel if the image shrinks.
    stretch = max(scale, 1.0)
    for pixel in range(num_out):
        centre = (pixel + 0.5) * scale
        first = max(int(centre - _SUPPORT * stretch + 0.5), 0)
        last = min(int(centre + _SUPPORT * stretch + 0.5), num_in)
        # This is Keys' cubic kernel with a = -1/2. All operations, and the sum, are in Pillow's order.
        x = np.abs((np.arange(last - first) + first - centre + 0.5) * (1 / stretch))
        near = (1.5 * x - 2.5) * x * x + 1
        far = (((x - 5) * x + 8) * x - 4) * -0.5
        values = np.where(x < 1, near, np.where(x < 2, far, 0))
        yield first, values / values.cumsum()[-1]
