"""Properties of images before any resize: named figures, each of which is a neuron."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import max_pool1d

from torchmetrics_dna.images.tensors import lacks_float64

if TYPE_CHECKING:
    from collections.abc import Callable

    from torchmetrics_dna.images.pixels import FileFacts, Pixels
    from torchmetrics_dna.neurons.index import Neurons

LAYER = "properties"
VERSION = 2  # of the definitions; increment it with any change of a value
_MOST_BYTES = 8  # scale of bytes per pixel


def _share(value: float) -> str:
    return f"{value * 100:.0f} %"


def _pixels(value: float) -> str:
    return f"{2 ** (16 * value):,.0f} pixels"


#: Names of properties, in the order of their neurons, and how their values are written; None in significant digits.
_WRITTEN: dict[str, Callable[[float], str] | None] = {
    "width": _pixels,
    "height": _pixels,
    "aspect ratio": lambda value: f"{2 ** (8 * (value - 0.5)):.3g}",
    "brightness": None,
    "contrast": None,
    "dark pixels": _share,
    "bright pixels": _share,
    "saturation": None,
    "red against green": None,
    "blue against yellow": None,
    "colours": None,
    "dark corners": None,
    "sharpness": None,
    "noise": None,
    "fine detail": None,
    "flat areas": _share,
    "pixelation": None,
    "blockiness": None,
    "JPEG files": _share,
    "PNG files": _share,
    "bytes per pixel": lambda value: f"{value * _MOST_BYTES:.2g}",
}
PROPERTIES = tuple(_WRITTEN)
_WINDOW = 192  # side of the central crop for texture, in pixels
_PIXELS = 1 << 14  # maximum number of pixels for colours
_WHITE = 255_000  # white in thousandths
_NEAR = 4  # radius of the search for a step by pixelation, in pixels


def image_properties(imgs: Tensor, file: FileFacts | None = None) -> Tensor:
    """Measure properties of original images.

    All are sums of integers up to a final division, so the figures of an image do not depend on batch and process.

    Args:
        imgs: Images ``(B, 3, H, W)``, uint8, or floating point in [0, 1].
        file: Facts of the file of the images; if None, the properties of files are 0.

    Returns:
        Properties, float32 in [0, 1], shape ``(B, 21)``, in the order of ``PROPERTIES``. Width and height are ``log2``
        divided by 16, bytes per pixel are divided by 8. The neutral value 0.5 means a square, no colour cast, corners
        as bright as the middle, and no excess of differences at the borders of 8-pixel blocks.

    Example:
        >>> grey = torch.full((1, 3, 16, 16), 128, dtype=torch.uint8)
        >>> values = dict(zip(PROPERTIES, image_properties(grey)[0].tolist(), strict=True))
        >>> values["width"], values["aspect ratio"], round(values["brightness"], 3), values["flat areas"]
        (0.25, 0.5, 0.502, 1.0)

    """
    imgs = imgs.cpu() if lacks_float64(imgs.device) else imgs
    if imgs.dtype != torch.uint8:
        imgs = imgs.mul(255).round().to(torch.uint8)
    properties = torch.zeros(len(imgs), len(PROPERTIES), dtype=torch.float64, device=imgs.device)
    height, width = imgs.shape[2:]
    values: dict[str, Tensor | float] = {
        "width": math.log2(width) / 16,
        "height": math.log2(height) / 16,
        "aspect ratio": 0.5 + math.log2(width / height) / 8,
    }
    if file is not None:
        values["JPEG files"], values["PNG files"] = file.format == "JPEG", file.format == "PNG"
        values["bytes per pixel"] = file.num_bytes / (height * width * _MOST_BYTES)
    if len(imgs):
        values |= _colours(imgs) | _texture(imgs)
    for column, name in enumerate(PROPERTIES):  # one by one, since copying a tensor to a device is a sync
        properties[:, column] = values.get(name, 0.0)
    return properties.clamp_(0, 1).float()


def property_note(image: Pixels) -> dict[str, Tensor]:
    """Return the properties of an RGB image ``(H, W, 3)``, without those of its file, as a note of a job."""
    return {LAYER: image_properties(torch.from_numpy(image.transpose(2, 0, 1).copy())[None])[0]}


def neuron_name(layer: str, number: int) -> str:
    """Return the number of a neuron within its layer as text, or the name of a property.

    Example:
        >>> neuron_name("head", 7), neuron_name("properties", 3)
        ('7', 'brightness')

    """
    return PROPERTIES[number] if layer == LAYER and number < len(PROPERTIES) else str(number)


def neuron_in_words(layer: str, number: int) -> str:
    """Return the name of a neuron with its layer.

    Example:
        >>> neuron_in_words("head", 7), neuron_in_words("properties", 3)
        ('head neuron 7', 'brightness (properties)')

    """
    name = neuron_name(layer, number)
    return f"{layer} neuron {number}" if name == str(number) else f"{name} ({layer})"


def without_properties(neurons: Neurons) -> Neurons | None:
    """Return the neurons of the network; None unless there are both these and properties."""
    layers = [layer for layer in neurons if layer != LAYER]
    return neurons.take(neurons.positions(layers)) if 0 < len(layers) < len(neurons) else None


def property_in_words(name: str, value: float, digits: int = 3) -> str:
    """Format a value of a property in its unit, or else with so many significant digits.

    Example:
        >>> property_in_words("width", 0.5), property_in_words("dark pixels", 0.25), property_in_words("noise", 0.0123)
        ('256 pixels', '25 %', '0.0123')

    """
    written = _WRITTEN[name]
    return f"{value:.{digits}g}" if written is None else written(value)


def _grey(imgs: Tensor) -> Tensor:
    """Compute the brightness of each pixel, in thousandths of 255, int32."""
    red, green, blue = imgs.int().unbind(1)
    grey: Tensor = red * 299 + green * 587 + blue * 114
    return grey


def _colours(imgs: Tensor) -> dict[str, Tensor]:
    """Compute the properties of colours of images ``(B, 3, H, W)``."""
    step = math.ceil(math.sqrt(imgs[0, 0].numel() / _PIXELS))
    imgs = imgs[:, :, ::step, ::step].contiguous()
    grey, count = _grey(imgs), imgs[0, 0].numel()
    red, green, blue = imgs.int().unbind(1)
    # no overflow: at most 2^14 pixels
    mean, squares = _total(grey) / count, _total(grey.long() * grey) / count
    spread = (squares - mean * mean).clamp(min=0).sqrt()
    high = imgs >> 3  # five bits of each channel
    codes = (high[:, 0].long() << 10) + (high[:, 1].int() << 5) + high[:, 2]
    seen = torch.zeros(len(imgs), 1 << 15, dtype=torch.uint8, device=imgs.device)
    seen.scatter_(1, codes.flatten(1), 1)
    return {
        "brightness": mean / _WHITE,
        "contrast": spread * 2 / _WHITE,
        "dark pixels": _count(grey < _WHITE // 20) / count,
        "bright pixels": _count(grey > _WHITE - _WHITE // 20) / count,
        "saturation": _total(imgs.amax(1).int() - imgs.amin(1).int()) / (255 * count),
        "red against green": 0.5 + _total(red - green) / (510 * count),
        "blue against yellow": 0.5 + _total(2 * blue - red - green) / (1020 * count),
        "colours": (_count(seen) / min(count, 1 << 15)).sqrt(),
        "dark corners": _dark_corners(grey),
    }


def _dark_corners(grey: Tensor) -> Tensor:
    """Compare the brightness of corners and middle, each an eighth of the height and width."""
    down, right = (max(1, extent // 8) for extent in grey.shape[1:])
    top, left = ((extent - size) // 2 for extent, size in zip(grey.shape[1:], (down, right), strict=True))
    corners = [grey[:, y, x] for y in (slice(down), slice(-down, None)) for x in (slice(right), slice(-right, None))]
    around = torch.stack([_total(corner) for corner in corners]).sum(0) / 4
    middle = _total(grey[:, top : top + down, left : left + right])
    return 0.5 + (middle - around) / (2 * _WHITE * down * right)


def _texture(imgs: Tensor) -> dict[str, Tensor]:
    """Compute the properties of texture of the middle of images; none where they are too small."""
    top, left = (max(0, (size - _WINDOW) // 16 * 8) for size in imgs.shape[2:])  # aligned to blocks of 8 pixels
    grey = _grey(imgs[:, :, top : top + _WINDOW, left : left + _WINDOW])
    if min(grey.shape[1:]) < 3:
        return {}
    across, down = grey.diff(dim=2), grey.diff(dim=1)
    second, below = across.diff(dim=2), down.diff(dim=1)  # their sum is the Laplacian
    noise = second[:, 2:] - 2 * second[:, 1:-1] + second[:, :-2]  # Immerkaer's kernel (1996): blind to edges
    wide = _mean(grey[:, :, 2:] - grey[:, :, :-2]) + _mean(grey[:, 2:] - grey[:, :-2])
    columns, rows = across.abs().sum(1), down.abs().sum(2)  # at most 192 steps of 255,000 each
    sizes = across[0].numel(), down[0].numel()
    narrow = _total(columns) / sizes[0] + _total(rows) / sizes[1]
    return {
        "sharpness": _mean(second[:, 1:-1] + below[:, :, 1:-1]) / (narrow * 4).clamp(min=1),
        "noise": _mean(noise) * (math.sqrt(math.pi / 2) / 6 * 8 / _WHITE),
        "fine detail": narrow / (narrow + wide).clamp(min=1),
        "flat areas": 1 - (_count(across) + _count(down)) / sum(sizes),
        "pixelation": _pixelation(columns, rows),
        "blockiness": _blockiness(columns, rows, grey.shape[1], grey.shape[2]),
    }


def _total(values: Tensor) -> Tensor:
    """Sum over each image, exact, float64, shape ``(B,)``."""
    return values.flatten(1).sum(1, dtype=torch.int64).double()


def _count(values: Tensor) -> Tensor:
    """Count nonzero values of each image, float64, shape ``(B,)``."""
    return values.flatten(1).count_nonzero(1).double()


def _mean(values: Tensor) -> Tensor:
    """Compute the mean absolute value of integers, exact up to the division."""
    return _total(values.abs()) / values[0].numel()


def _pixelation(columns: Tensor, rows: Tensor) -> Tensor:
    """Compute the share of rows and columns with hardly any difference near large ones, typical of enlarged pixels."""
    still, size = torch.zeros_like(columns[:, 0]).double(), 0
    for steps in (columns, rows):
        most = max_pool1d(steps.double()[:, None], 2 * _NEAR + 1, 1, _NEAR)[:, 0]
        still, size = still + _total(steps * 10 < most), size + steps.shape[1]
    return still / size


def _blockiness(columns: Tensor, rows: Tensor, height: int, width: int) -> Tensor:
    """Compute the share of differences at the borders of 8-pixel blocks: borders / (borders + elsewhere)."""
    borders = elsewhere = torch.zeros_like(columns[:, 0]).double()
    for steps, length in ((columns, height), (rows, width)):
        border = torch.arange(steps.shape[1], device=steps.device) % 8 == 7
        borders = borders + _total(steps * border) / (border.sum() * length).clamp(min=1)
        elsewhere = elsewhere + _total(steps * ~border) / ((~border).sum() * length).clamp(min=1)
    small = min(columns.shape[1], rows.shape[1]) <= 8
    return borders * 0 + 0.5 if small else borders / (borders + elsewhere).clamp(min=1)
