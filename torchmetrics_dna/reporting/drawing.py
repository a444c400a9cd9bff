"""What the page draws: small histograms, a map of neurons, thumbnails; as numbers, paths and data URIs."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from torchmetrics_dna.dna.histogram import grouped

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from torchmetrics_dna.dna import HistogramDNA

GROUPS = 32  # of bins, at most, in a small histogram
_FAINTEST = 5  # a share of 10 to the minus this has no height
_SPIKE = 0.1  # of all activations, in one bin
_THUMBNAIL = 128  # pixels
# from dark blue over grey to yellow, lighter and lighter, so that no kind of colour vision takes two for one
_COLOURS = ((0, 34, 78), (125, 124, 120), (254, 232, 56))


class SmallHistograms(NamedTuple):
    """Pairs of histograms, of A and of B, in bins wide enough to draw.

    Attributes:
        levels: Heights on a logarithmic scale, 0 for none and 255 for all activations, uint8, ``(N, 2, GROUPS)``.
        used: How many of the groups hold anything, from the first one on, ``(N,)``.
        ends: Activations at the first group's begin and the last used group's end, ``(N, 2)``.

    """

    levels: Tensor
    used: Tensor
    ends: Tensor


def small_histograms(a: HistogramDNA, b: HistogramDNA) -> SmallHistograms:
    """Histograms of all neurons over where they hold something; layer by layer, which keeps memory low.

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
    """What to say of each neuron's fullest bin, such as the zeros of a ReLU; an empty text where none stands out.

    Args:
        a: A histogram DNA of known ranges.
        b: Another one, in the same bins.

    """
    shares = torch.stack([dna.counts / dna.counts.sum(1, keepdim=True) for dna in (a, b)])
    fullest, edges = shares.sum(0).argmax(1, keepdim=True), a.bin_edges()
    ends = zip(edges.gather(1, fullest), edges.gather(1, fullest + 1), strict=True)
    heights = shares.gather(2, fullest.expand(2, -1, 1))[..., 0].T.tolist()
    return [
        f"one bin, {'of 0' if low <= 0 < high else f'from {float(low):.3g}'}, holds {one:.0%} of A and {other:.0%} of B"
        if max(one, other) >= _SPIKE
        else ""
        for (low, high), (one, other) in zip(ends, heights, strict=True)
    ]


def step_path(levels: list[int], used: int, width: int, height: int) -> str:
    """The outline of a small histogram as an SVG path."""
    steps = (
        f"V{height - level * height / 255:.4g}H{(i + 1) * width / used:.4g}" for i, level in enumerate(levels[:used])
    )
    return f"M0 {height}{''.join(steps)}V{height}"


def neuron_map(distances: Tensor, largest: float, columns: int) -> str:
    """A pixel for each neuron, row by row, as the data URI of a PNG; those beyond the last one are transparent.

    Args:
        distances: Shape ``(n,)``.
        largest: What the scale ends with. Colours go with the root of distances: few neurons differ by much, and that
            leaves the others something to see.
        columns: Pixels in a row.

    """
    scaled = (distances / max(largest, 1e-300)).clamp(0, 1).sqrt()
    pixels = np.zeros((-(-len(scaled) // columns) * columns, 4), dtype=np.uint8)
    pixels[: len(scaled), :3] = _palette(scaled.numpy())
    pixels[: len(scaled), 3] = 255
    return _uri(Image.fromarray(pixels.reshape(-1, columns, 4)), "PNG")


def colour_bar() -> str:
    """The colours of the map from none to all, as the data URI of a PNG."""
    return _uri(Image.fromarray(_palette(np.linspace(0, 1, 128))[None]), "PNG")


def thumbnail(image: NDArray[Any]) -> str:
    """A small JPEG of an image, ``(H, W, 3)``, uint8 or in [0, 1], as a data URI."""
    pixels = image if image.dtype == np.uint8 else (255 * image).round().astype(np.uint8)
    picture = Image.fromarray(pixels)
    picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return _uri(picture, "JPEG", quality=75)


def as_base64(values: Tensor) -> str:
    """The bytes of uint8 values."""
    return base64.b64encode(values.contiguous().numpy().tobytes()).decode()


def _palette(scaled: NDArray[Any]) -> NDArray[np.uint8]:
    """Colours of numbers from 0 to 1, ``(n, 3)``."""
    channels = [np.interp(scaled, [0, 0.5, 1], channel) for channel in zip(*_COLOURS, strict=True)]
    return np.stack(channels, 1).round().astype(np.uint8)


def _uri(picture: Image.Image, kind: str, **options: Any) -> str:
    file = BytesIO()
    picture.save(file, kind, **options)
    return data_uri(file.getvalue(), kind.lower())


def data_uri(data: bytes, kind: str) -> str:
    """The file of a picture as a data URI.

    Example:
        >>> data_uri(b"GIF89a", "gif")
        'data:image/gif;base64,R0lGODlh'

    """
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
