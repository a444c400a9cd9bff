"""Resize images by one of four methods.

- ``"clean"``, ``"torch"`` and ``"pillow"`` are bicubic with antialiasing. ``"clean"`` (Parmar et al., CVPR 2022)
  computes floating point numbers and clips them to [0, 1]. ``"torch"`` does not clip them. ``"pillow"`` rounds to
  bytes, as Pillow does for 8-bit images.
- ``"tensorflow"`` is bilinear without antialiasing, aligned to the upper left corner. This is the method of
  TensorFlow 1, with which FID was published.

``"clean"`` and ``"pillow"`` resize rows before columns, independent of the version of Pillow. Newer versions of Pillow
would choose the order by the sizes.

There are two equivalent functions: :func:`resize_image` for decoded images in worker processes, and
:func:`resize_tensor` for batches of tensors on their device. Sizes are ``(height, width)``.
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
# Number of fractional bits of Pillow's fixed-point weights.
_BITS = 22
_HALF = 1 << (_BITS - 1)
# Number of channels of RGB.
_RGB = 3
# Radius of the bicubic kernel in pixels.
_SUPPORT = 2.0


def resize_image(
    image: Pixels, size: tuple[int, int], crop: Crop = "none", resize: Resize = "clean"
) -> NDArray[np.float32]:
    """Resize an image.

    Args:
        image: Image ``(H, W, C)``, uint8 or float32 in [0, 1].
        size: Height and width of the result.
        crop: ``"center"`` to crop the image to its largest central square first, or ``"none"``.
        resize: Resize method. The default is that of Clean-FID.

    Returns:
        The resized image, float32, ``(C, height, width)``. Values are in [0, 1]. With ``"torch"``, they may lie
        slightly beyond.

    """
    top, left, rows, columns = seen_of(image.shape[0], image.shape[1], crop)
    image = image[top : top + rows, left : left + columns]
    if resize == "clean":
        return _resize_clean(image, size)
    if resize == "pillow":
        resized_bytes = _by_pillow(np.ascontiguousarray(as_bytes(image)), size).transpose(2, 0, 1)
        scaled: NDArray[np.float32] = np.divide(resized_bytes, np.float32(255), dtype=np.float32, order="C")
        return scaled
    batch = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
    return np.asarray(resize_tensor(batch, size, resize=resize)[0].numpy())


def _resize_clean(image: Pixels, size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize an image ``(H, W, C)`` to ``(C, height, width)`` by the method "clean"."""
    # The function of numba is made for RGB images of bytes that are resized.
    is_supported_by_numba = image.dtype == np.uint8 and image.shape[2] == _RGB and image.shape[:2] != size
    compiled = compiled_images() if is_supported_by_numba else None
    if compiled is not None:
        resized_by_numba: NDArray[np.float32] = compiled.resize_clean(image, size)
        return resized_by_numba
    height, width = size
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
    """Resize a batch of images on its device.

    The result is equal to that of :func:`resize_image`. For ``"clean"``, the difference is at most 1e-5.

    Args:
        imgs: Images ``(B, C, H, W)``, uint8 or floating point in [0, 1].
        size: Height and width of the result.
        crop: As for :func:`resize_image`.
        resize: Resize method.

    Returns:
        The resized images, float32, ``(B, C, height, width)``. They never share memory with ``imgs``.

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
    """Resize like :func:`_by_pillow`, with values rounded to bytes after the rows and after the columns."""
    bytes_ = imgs if imgs.dtype == torch.uint8 else (imgs * 255).round()
    if lacks_float64(imgs.device):
        bytes_ = bytes_.cpu()
    # Sums of integers below 2^31 are exact in float64, so the result is equal on all devices.
    resized = bytes_.double()
    height, width = size
    if resized.shape[3] != width:
        weights = _weights(resized.shape[3], width, resized.device)
        resized = _rounded(resized @ weights.T)
    if resized.shape[2] != height:
        weights = _weights(resized.shape[2], height, resized.device)
        resized = _rounded(weights @ resized)
    return resized.float().to(imgs.device) / 255


def _resize_like_tensorflow(imgs: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize like TensorFlow 1: bilinear, without antialiasing, aligned to the upper left corner."""
    height, width = size
    resized = imgs.float() if imgs.dtype == torch.uint8 else imgs.float() * 255
    for axis, length in ((3, width), (2, height)):
        resized = _interpolate_like_tensorflow(resized, axis, length)
    return resized / 255


def _interpolate_like_tensorflow(imgs: Tensor, axis: int, length: int) -> Tensor:
    """Resize one axis of images to a length. Each result is interpolated between two neighbouring pixels.

    Axis 2 holds the rows of images, and axis 3 the columns.
    """
    last = imgs.shape[axis] - 1
    # Sample at multiples of the ratio of the sizes in float32, as TensorFlow 1 does.
    ratio = torch.tensor((last + 1) / length)
    positions = torch.arange(length, dtype=torch.float32, device=imgs.device) * ratio
    lower = positions.long()
    upper = (lower + 1).clamp(max=last)
    # Give the weights an axis of length 1 for each axis of the images after this axis.
    num_axes_after = 3 - axis
    weights_of_upper = (positions - lower).view(-1, *[1] * num_axes_after)
    values_at_lower = imgs.index_select(axis, lower)
    values_at_upper = imgs.index_select(axis, upper)
    return values_at_lower + (values_at_upper - values_at_lower) * weights_of_upper


def check_resize(crop: str, resize: str | None) -> None:
    """Raise ValueError unless ``crop`` and ``resize`` are valid. ``resize`` may be None."""
    if crop not in get_args(Crop):
        raise ValueError(f"Argument `crop` expected to be 'none' or 'center', but got {crop!r}")
    if resize not in (None, *RESIZES):
        choices = ", ".join(map(repr, RESIZES))
        raise ValueError(f"Argument `resize` expected to be one of {choices}, but got {resize!r}")


def _by_pillow(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Resize an image with Pillow, rows before columns."""
    height, width = size
    is_grey_or_rgb = image.ndim == 2 or image.shape[2] == _RGB
    if not is_grey_or_rgb:
        # Resize other channels one by one, because Pillow would weight the colours of RGBA by alpha.
        return np.stack([_by_pillow(channel, size) for channel in image.transpose(2, 0, 1)], 2)
    # Make two calls, because newer versions of Pillow choose the order of rows and columns by the sizes.
    resized = Image.fromarray(image).resize((width, len(image)), Image.Resampling.BICUBIC)
    return np.asarray(resized.resize((width, height), Image.Resampling.BICUBIC))


def _rounded(sums: Tensor) -> Tensor:
    """Round fixed-point sums to bytes."""
    return ((sums + _HALF) / (1 << _BITS)).floor().clamp(0, 255)


@lru_cache(32)
def _weights(num_in: int, num_out: int, device: torch.device) -> Tensor:
    """Return the fixed-point weight of each input pixel for each output pixel, ``(num_out, num_in)``, float64.

    The unit of the weights is 2^-22.
    """
    weights = np.zeros((num_out, num_in))
    for row, (first, kernel) in zip(weights, kernels(num_in, num_out), strict=True):
        fractions = kernel * (1 << _BITS)
        row[first : first + len(kernel)] = np.trunc(fractions + np.copysign(0.5, fractions))
    return torch.from_numpy(weights).to(device)


def kernels(num_in: int, num_out: int) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield the bicubic kernel of each output pixel, as computed by Pillow.

    Args:
        num_in: Number of input pixels in a row.
        num_out: Number of output pixels in a row.

    Yields:
        The first input pixel that contributes to the output pixel, and the weights of this and the following pixels.

    """
    scale = num_in / num_out
    # Widen the kernel if the image gets smaller, for antialiasing.
    stretch = max(scale, 1.0)
    for pixel in range(num_out):
        centre = (pixel + 0.5) * scale
        first = max(int(centre - _SUPPORT * stretch + 0.5), 0)
        end = min(int(centre + _SUPPORT * stretch + 0.5), num_in)
        # Compute Keys' cubic kernel with a = -1/2. All operations, and the sum, are in the same order as in Pillow.
        x = np.abs((np.arange(end - first) + first - centre + 0.5) * (1 / stretch))
        # Values of the kernel at distances below 1, and from 1 to 2.
        within_1 = (1.5 * x - 2.5) * x * x + 1
        within_2 = (((x - 5) * x + 8) * x - 4) * -0.5
        weights = np.where(x < 1, within_1, np.where(x < 2, within_2, 0))
        # Use cumsum, because it adds the weights one by one, unlike sum.
        yield first, weights / weights.cumsum()[-1]
