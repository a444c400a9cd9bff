"""Properties of images as they are given, before any resize: named figures, each of which is a neuron."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LAYER = "properties"
VERSION = 1  # of what the figures mean; to be raised with any change of a value
PROPERTIES = (
    "width", "height", "aspect ratio", "brightness", "contrast", "dark pixels", "bright pixels", "saturation",
    "red against green", "blue against yellow", "colours", "sharpness", "noise", "fine detail", "flat areas",
    "blockiness",
)  # fmt: skip
_WINDOW = 192  # pixels, of the middle of an image, in which neighbours are compared
_PIXELS = 1 << 14  # of which colours are taken
_WHITE = 255_000  # of grey, in thousandths


def image_properties(imgs: Tensor) -> Tensor:
    """Measure properties of each image, as given.

    All are sums of integers but for a last division, so an image has the same figures in any batch and process.

    Args:
        imgs: Shape ``(B, 3, H, W)``, uint8, or floating point in [0, 1].

    Returns:
        float32 in [0, 1], shape ``(B, 16)``, in the order of ``PROPERTIES``. Width and height are logarithms to the
        base 2, a sixteenth of them; 0.5 is a square, no red or green cast, and no more difference at the borders of
        blocks of 8 pixels than elsewhere.

    Example:
        >>> grey = torch.full((1, 3, 16, 16), 128, dtype=torch.uint8)
        >>> found = dict(zip(PROPERTIES, image_properties(grey)[0].tolist(), strict=True))
        >>> found["width"], found["aspect ratio"], round(found["brightness"], 3), found["flat areas"]
        (0.25, 0.5, 0.502, 1.0)

    """
    if imgs.dtype != torch.uint8:
        imgs = imgs.mul(255).round().to(torch.uint8)
    height, width = imgs.shape[2:]
    found = torch.zeros(len(imgs), len(PROPERTIES), dtype=torch.float64, device=imgs.device)
    sizes = _sizes(height, width)
    for column, value in enumerate(sizes):
        found[:, column] = value  # not sent as a tensor, which would wait for the device
    for image, into in zip(imgs, found, strict=True):
        into[len(sizes) :] = torch.stack([*_colours(image), *_texture(image)])
    return found.clamp_(0, 1).float()


def _sizes(height: int, width: int) -> list[float]:
    return [math.log2(width) / 16, math.log2(height) / 16, 0.5 + math.log2(width / height) / 8]


def _grey(image: Tensor) -> Tensor:
    """Brightness of each pixel, in thousandths of 255, int32."""
    red, green, blue = image.int()
    grey: Tensor = red * 299 + green * 587 + blue * 114
    return grey


def _colours(image: Tensor) -> list[Tensor]:
    """From brightness to the number of colours, of an image ``(3, H, W)``."""
    step = math.ceil(math.sqrt(image[0].numel() / _PIXELS))
    image = image[:, ::step, ::step]
    grey, count = _grey(image).long(), image[0].numel()
    red, green, blue = image.int()
    mean = grey.sum().double() / count
    spread = ((grey * grey).sum().double() / count - mean * mean).clamp(min=0).sqrt()
    codes = (red // 8 * 32 + green // 8) * 32 + blue // 8
    seen = torch.zeros(1 << 15, dtype=torch.int64, device=image.device)
    seen[codes.flatten().long()] = 1
    return [
        mean / _WHITE,
        spread * 2 / _WHITE,
        (grey < _WHITE // 20).sum().double() / count,
        (grey > _WHITE - _WHITE // 20).sum().double() / count,
        (image.amax(0).int() - image.amin(0).int()).sum().double() / (255 * count),
        0.5 + (red - green).sum().double() / (510 * count),
        0.5 + (2 * blue - red - green).sum().double() / (1020 * count),
        (seen.sum().double() / min(count, 1 << 15)).sqrt(),
    ]


def _texture(image: Tensor) -> list[Tensor]:
    """From sharpness to blockiness, of the middle of an image ``(3, H, W)``; 0 where it is too small."""
    top, left = (max(0, (size - _WINDOW) // 16 * 8) for size in image.shape[1:])  # so that blocks of 8 stay blocks
    grey = _grey(image[:, top : top + _WINDOW, left : left + _WINDOW])
    if min(grey.shape) < 3:
        return [grey.sum().double() * 0] * 5
    across, down = grey.diff(dim=1), grey.diff(dim=0)
    second, below = across.diff(dim=1), down.diff(dim=0)  # which add up to the Laplacian
    noise = second[2:] - 2 * second[1:-1] + second[:-2]  # Immerkaer's kernel (1996): blind to edges
    wide = _mean(grey[:, 2:] - grey[:, :-2]) + _mean(grey[2:] - grey[:-2])
    narrow = _mean(across) + _mean(down)
    flat = (across == 0).sum().double() + (down == 0).sum().double()
    return [
        _mean(second[1:-1] + below[:, 1:-1]) / (narrow * 4).clamp(min=1),
        _mean(noise) * (math.sqrt(math.pi / 2) / 6 * 8 / _WHITE),
        narrow / (narrow + wide).clamp(min=1),
        flat / (across.numel() + down.numel()),
        _blockiness(across.abs(), down.abs()),
    ]


def _mean(values: Tensor) -> Tensor:
    """Mean absolute value of integers, exact but for the division."""
    return values.abs().sum(dtype=torch.int64).double() / values.numel()


def _blockiness(across: Tensor, down: Tensor) -> Tensor:
    """Differences at the borders of blocks of 8 pixels, over these and those elsewhere."""
    borders = elsewhere = across.sum().double() * 0
    for steps in (across, down.T):
        border = torch.arange(steps.shape[1], device=steps.device) % 8 == 7
        borders = borders + (steps * border).sum().double() / (border.sum() * len(steps)).clamp(min=1)
        elsewhere = elsewhere + (steps * ~border).sum().double() / ((~border).sum() * len(steps)).clamp(min=1)
    small = min(across.shape[1], down.shape[0]) <= 8
    return borders * 0 + 0.5 if small else borders / (borders + elsewhere).clamp(min=1)
