"""Graphics of the page: small histograms, a map of neurons, thumbnails; as numbers, SVG paths and data URIs."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import adaptive_avg_pool2d

from torchmetrics_dna.dna.histogram import grouped
from torchmetrics_dna.files.visible import percent
from torchmetrics_dna.images.cells import central_square
from torchmetrics_dna.images.pixels import as_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from torchmetrics_dna.dna import HistogramDNA
    from torchmetrics_dna.images.cells import Crop

GROUPS = 32  # of bins, at most, in a small histogram
_FAINTEST = 5  # a share of 10 to the minus this has no height
_SPIKE = 0.1  # of all activations, in one bin
_THUMBNAIL = 160  # pixels
# dark blue, grey, yellow: lightness rises throughout, so the scale suits every kind of colour vision
_COLOURS = ((0, 34, 78), (125, 124, 120), (254, 232, 56))
_DIM = 0.45  # brightness of an image under its map, so that yellow is lighter than all of it
_OPAQUE = 0.85  # of the yellow where a map is highest, so that the image stays visible
_ROWS, _COLUMNS = ("upper", "middle", "lower"), ("left", "centre", "right")


class SmallHistograms(NamedTuple):
    """Pairs of histograms, of A and of B, in bins wide enough to draw.

    Attributes:
        levels: Heights on a logarithmic scale, 0 for none and 255 for all activations, uint8, ``(N, 2, GROUPS)``.
        used: Number of groups up to the last non-empty one, ``(N,)``.
        ends: Activations at the first group's begin and the last used group's end, ``(N, 2)``.

    """

    levels: Tensor
    used: Tensor
    ends: Tensor


def small_histograms(a: HistogramDNA, b: HistogramDNA) -> SmallHistograms:
    """Return histograms of all neurons over their non-empty bins; works layer by layer to save memory.

    Args:
        a: A histogram DNA of known ranges.
        b: Another one, in the same bins.

    """
    layers = [grouped(a.select(layers=[layer]), b.select(layers=[layer]), GROUPS) for layer in a.neurons]
    shares, used, ends = (torch.cat(parts) for parts in zip(*layers, strict=True))
    heights = 1 + shares.log10() / _FAINTEST
    levels = torch.where(shares > 0, (255 * heights).round().clamp(1, 255), 0).to(torch.uint8)
    return SmallHistograms(levels, used, ends)


def spikes(a: HistogramDNA, b: HistogramDNA) -> list[str]:
    """Describe each neuron's fullest bin, such as the zeros of a ReLU; an empty string if none stands out.

    Args:
        a: A histogram DNA of known ranges.
        b: Another one, in the same bins.

    """
    shares = torch.stack([dna.counts / dna.counts.sum(1, keepdim=True) for dna in (a, b)])
    fullest, edges = shares.sum(0).argmax(1, keepdim=True), a.bin_edges()
    ends = zip(edges.gather(1, fullest), edges.gather(1, fullest + 1), strict=True)
    heights = shares.gather(2, fullest.expand(2, -1, 1))[..., 0].T.tolist()
    return [
        f"one bin, {'of 0' if low <= 0 < high else f'from {float(low):.3g}'},"
        f" holds {percent(round(in_a, 2))} of A and {percent(round(in_b, 2))} of B"
        if max(in_a, in_b) >= _SPIKE
        else ""
        for (low, high), (in_a, in_b) in zip(ends, heights, strict=True)
    ]


def step_path(levels: list[int], used: int, width: int, height: int) -> str:
    """Return the outline of a small histogram as an SVG path."""
    steps = (
        f"V{height - level * height / 255:.4g}H{(i + 1) * width / used:.4g}" for i, level in enumerate(levels[:used])
    )
    return f"M0 {height}{''.join(steps)}V{height}"


def neuron_map(distances: Tensor, largest: float, columns: int) -> str:
    """Draw a pixel for each neuron, row by row, as the data URI of a PNG; pixels after the last are transparent.

    Args:
        distances: Shape ``(n,)``.
        largest: Upper end of the colour scale. The scale is a square root, so that small distances stay visible beside
            the few large ones.
        columns: Number of pixels in a row.

    """
    scaled = (distances / max(largest, 1e-300)).clamp(0, 1).sqrt()
    pixels = np.zeros((-(-len(scaled) // columns) * columns, 4), dtype=np.uint8)
    pixels[: len(scaled), :3] = _palette(scaled.numpy())
    pixels[: len(scaled), 3] = 255
    return _uri(Image.fromarray(pixels.reshape(-1, columns, 4)), "PNG")


def colour_bar() -> str:
    """Draw the colour scale of the map as the data URI of a PNG."""
    return _uri(Image.fromarray(_palette(np.linspace(0, 1, 128))[None]), "PNG")


def thumbnail(image: NDArray[Any]) -> str:
    """Return a small JPEG of an image, ``(H, W, 3)``, uint8 or in [0, 1], as a data URI."""
    picture = Image.fromarray(as_bytes(image))
    picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return _uri(picture, "JPEG", quality=85)


def heat_picture(image: NDArray[Any], heat: Tensor, ends: tuple[float, float], crop: Crop) -> str:
    """Draw a heat map in yellow over a dim grey image, as the data URI of a small JPEG.

    Args:
        image: Shape ``(H, W, 3)``, uint8 or in [0, 1].
        heat: Heat map of the part that the network sees, ``(side, side)``.
        ends: Values from which on down nothing is coloured, and from which on up yellow is strongest.
        crop: Part of the image that the network sees.

    """
    picture = Image.fromarray(as_bytes(image)).convert("L")
    picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
    top, left, side = central_square(picture.height, picture.width) if crop == "center" else (0, 0, None)
    seen = (side or picture.width, side or picture.height)
    low, high = ends
    shares = Image.fromarray(((heat - low) / max(high - low, 1e-300)).clamp(0, 1).float().numpy())
    opacities = np.zeros((picture.height, picture.width))
    opacities[top : top + seen[1], left : left + seen[0]] = np.asarray(shares.resize(seen, Image.Resampling.BILINEAR))
    return _uri(Image.fromarray(_heated(np.asarray(picture), opacities)), "JPEG", quality=85)


def heat_bar() -> str:
    """Draw the scale of :func:`heat_picture`, over middle grey, as the data URI of a PNG."""
    return _uri(Image.fromarray(_heated(np.full((1, 128), 128), np.linspace(0, 1, 128)[None])), "PNG")


def _heated(grey: NDArray[Any], shares: NDArray[Any]) -> NDArray[np.uint8]:
    """Blend grey levels ``(h, w)`` with yellow by shares in [0, 1], ``(h, w, 3)``."""
    opacities = _OPAQUE * shares[..., None]
    blended = (1 - opacities) * _DIM * grey[..., None] + opacities * np.array(_COLOURS[-1])
    pixels: NDArray[np.uint8] = blended.round().astype(np.uint8)
    return pixels


def place_of(heat: Tensor) -> str:
    """Name the ninth of a heat map ``(side, side)`` whose mean is highest.

    Example:
        >>> place_of(torch.eye(9) * torch.arange(9))
        'lower right'

    """
    ninths = adaptive_avg_pool2d(heat[None], 3)[0]
    row, column = divmod(int(ninths.argmax()), 3)
    return "centre" if row == column == 1 else f"{_ROWS[row]} {_COLUMNS[column]}"


def _palette(scaled: NDArray[Any]) -> NDArray[np.uint8]:
    """Map numbers in [0, 1] to colours, ``(n, 3)``."""
    channels = [np.interp(scaled, [0, 0.5, 1], channel) for channel in zip(*_COLOURS, strict=True)]
    return np.stack(channels, 1).round().astype(np.uint8)


def _uri(picture: Image.Image, kind: str, **options: Any) -> str:
    file = BytesIO()
    picture.save(file, kind, **options)
    return data_uri(file.getvalue(), kind.lower())


def data_uri(data: bytes, kind: str) -> str:
    """Encode the file of a picture as a data URI.

    Example:
        >>> data_uri(b"GIF89a", "gif")
        'data:image/gif;base64,R0lGODlh'

    """
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
