"""Graphics of the page: small histograms, a map of neurons, pictures; as numbers, SVG paths and data URIs."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import adaptive_avg_pool2d

from torchmetrics_dna.dna.histogram import grouped
from torchmetrics_dna.images.cells import central_square

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from torchmetrics_dna.dna import HistogramDNA
    from torchmetrics_dna.images.cells import Crop

GROUPS = 32  # of bins, at most, in a small histogram
_FAINTEST = 5  # a share of 10 to the minus this has no height
_SPIKE = 0.1  # of all activations, in one bin
# dark blue, grey, yellow: lightness rises throughout, so the scale suits every kind of colour vision
_COLOURS = ((0, 34, 78), (125, 124, 120), (254, 232, 56))
_DIM = 0.45  # brightness of an image under its map, so that yellow is lighter than all of it
_OPAQUE = 0.85  # of the yellow where a map is highest, so that the image stays visible
_MAPPED = (0.01, 0.99)  # quantiles of the maps of a side: ends of their scale, beyond which are few places
_FLAT = 1e-9  # spread of a flat map, relative to the largest value: rounding
_ROWS, _COLUMNS = ("upper", "middle", "lower"), ("left", "centre", "right")
_QUALITIES = (80, 50, 25, 10)  # of a JPEG


class SmallHistograms(NamedTuple):
    """Pairs of histograms, of A and of B, in bins wide enough to draw."""

    levels: Tensor  # heights on a logarithmic scale, 0 for none and 255 for all activations, uint8, (N, 2, GROUPS)
    used: Tensor  # number of groups up to the last non-empty one, (N,)
    ends: Tensor  # activations at the first group's begin and the last used group's end, (N, 2)


def small_histograms(a: HistogramDNA, b: HistogramDNA) -> SmallHistograms:
    """Return histograms of all neurons, in the same bins of known ranges; works layer by layer to save memory."""
    layers = [grouped(a.select(layers=[layer]), b.select(layers=[layer]), GROUPS) for layer in a.neurons]
    shares, used, ends = (torch.cat(parts) for parts in zip(*layers, strict=True))
    heights = 1 + shares.log10() / _FAINTEST
    levels = torch.where(shares > 0, (255 * heights).round().clamp(1, 255), 0).to(torch.uint8)
    return SmallHistograms(levels, used, ends)


def spikes(a: HistogramDNA, b: HistogramDNA) -> list[str]:
    """Describe each neuron's fullest bin, such as the zeros of a ReLU; an empty string if none stands out."""
    shares = torch.stack([dna.counts / dna.counts.sum(1, keepdim=True) for dna in (a, b)])
    fullest, edges = shares.sum(0).argmax(1, keepdim=True), a.bin_edges()
    ends = zip(edges.gather(1, fullest), edges.gather(1, fullest + 1), strict=True)
    heights = shares.gather(2, fullest.expand(2, -1, 1))[..., 0].T.tolist()
    return [
        f"one bin, {'of 0' if low <= 0 < high else f'from {float(low):.3g}'},"
        f" holds {100 * in_a:.0f} % of A and {100 * in_b:.0f} % of B"
        if max(in_a, in_b) >= _SPIKE
        else ""
        for (low, high), (in_a, in_b) in zip(ends, heights, strict=True)
    ]


def step_path(levels: Sequence[int], width: int, height: int) -> str:
    """Return the outline of a histogram, of levels up to 255, as an SVG path.

    Example:
        >>> step_path([255, 0], 10, 100)
        'M0 100V0H5V100H10V100'

    """
    steps = (
        f"V{height - level * height / 255:.4g}H{(i + 1) * width / len(levels):.4g}" for i, level in enumerate(levels)
    )
    return f"M0 {height}{''.join(steps)}V{height}"


def neuron_map(distances: Tensor, largest: float, columns: int) -> Image.Image:
    """Draw a pixel for each of ``(n,)`` distances, row by row; pixels after the last are transparent."""
    # a square root, so that small distances stay visible beside the few large ones
    scaled = (distances / max(largest, 1e-300)).clamp(0, 1).sqrt()
    pixels = np.zeros((-(-len(scaled) // columns) * columns, 4), dtype=np.uint8)
    pixels[: len(scaled), :3] = _palette(scaled.numpy())
    pixels[: len(scaled), 3] = 255
    return Image.fromarray(pixels.reshape(-1, columns, 4))


def colour_bar() -> Image.Image:
    """Draw the colour scale of the map."""
    return Image.fromarray(_palette(np.linspace(0, 1, 128))[None])


def ends_of(heats: Tensor) -> tuple[float, float] | None:
    """Return the ends of the scale of heat maps; None if all are flat, as those of layers without positions are."""
    spread = heats.amax((1, 2)) - heats.amin((1, 2))
    if bool((spread <= _FLAT * heats.abs().amax()).all()):
        return None
    low, high = heats.flatten().quantile(torch.tensor(_MAPPED, dtype=heats.dtype)).tolist()
    return low, high


def heat_picture(picture: Image.Image, heat: Tensor, ends: tuple[float, float], crop: Crop) -> Image.Image:
    """Draw the heat map ``(side, side)`` of what the network sees of an image, in yellow over dim grey.

    From the first of ``ends`` on down nothing is coloured, from the second on up yellow is strongest.
    """
    top, left, side = central_square(picture.height, picture.width) if crop == "center" else (0, 0, None)
    seen = (side or picture.width, side or picture.height)
    low, high = ends
    shares = Image.fromarray(((heat - low) / max(high - low, 1e-300)).clamp(0, 1).float().numpy())
    opacities = np.zeros((picture.height, picture.width))
    opacities[top : top + seen[1], left : left + seen[0]] = np.asarray(shares.resize(seen, Image.Resampling.BILINEAR))
    return _heated(np.asarray(picture.convert("L")), opacities)


def heat_bar() -> Image.Image:
    """Draw the scale of :func:`heat_picture`, over middle grey."""
    return _heated(np.full((1, 128), 128), np.linspace(0, 1, 128)[None])


def _heated(grey: NDArray[Any], shares: NDArray[Any]) -> Image.Image:
    """Blend grey levels ``(h, w)`` with yellow by shares in [0, 1]."""
    opacities = _OPAQUE * shares[..., None]
    blended = (1 - opacities) * _DIM * grey[..., None] + opacities * np.array(_COLOURS[-1])
    return Image.fromarray(blended.round().astype(np.uint8))


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


def png(picture: Image.Image) -> str:
    """Return a picture as the data URI of a PNG."""
    file = BytesIO()
    picture.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def jpeg(picture: Image.Image, most: int = 16_000) -> str:
    """Return a picture as the data URI of a JPEG of about ``most`` bytes at most: of noise it is coarser."""
    for quality in _QUALITIES:
        file = BytesIO()
        picture.save(file, "JPEG", quality=quality)
        if file.tell() <= most:
            break
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
