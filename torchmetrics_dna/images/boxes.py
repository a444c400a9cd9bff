"""Windows of an image around the cell of a position, in fractions of width and height."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torchmetrics_dna.images.cells import WHOLE
from torchmetrics_dna.images.resize import central_square

if TYPE_CHECKING:
    from torchmetrics_dna.images.cells import Box
    from torchmetrics_dna.images.resize import Crop

_CELLS = 3  # side of a window in cells: receptive fields exceed a cell
_SHARE = 1 / 4  # minimum side of a window, in shorter sides of the image, to be recognizable


def window(cell: Box, height: int, width: int, crop: Crop = "none") -> Box:
    """Return a window of an image around a cell of the network's input.

    It is a square of three cells or a quarter of the shorter side, whichever is larger, centred on the cell, then moved
    or clipped to the region that the network saw.

    Args:
        cell: Left, top, right and bottom, in fractions of the input; the whole input gives its whole region.
        height: Height of the original image, in pixels.
        width: Width of the original image, in pixels.
        crop: Crop before the resize, see :func:`resize_image`.

    Returns:
        Left, top, right and bottom, in fractions of the original image.

    Example:
        >>> window((0.5, 0.5, 0.53125, 0.53125), 100, 200)  # a quarter of 100 pixels is 25
        (0.453125, 0.390625, 0.578125, 0.640625)
        >>> window((0.0, 0.0, 1.0, 1.0), 100, 200, "center")
        (0.25, 0.0, 0.75, 1.0)

    """
    top, left, seen_height, seen_width = 0, 0, height, width
    if crop == "center":
        top, left, seen_height = central_square(height, width)
        seen_width = seen_height
    first, upper, last, lower = cell
    side = _SHARE * min(seen_height, seen_width)
    if cell == WHOLE:
        side = max(seen_height, seen_width)
    side = max(side, _CELLS * (last - first) * seen_width, _CELLS * (lower - upper) * seen_height)
    begin, end = _span((first + last) / 2 * seen_width, side, seen_width)
    above, below = _span((upper + lower) / 2 * seen_height, side, seen_height)
    return (left + begin) / width, (top + above) / height, (left + end) / width, (top + below) / height


def _span(middle: float, side: float, length: int) -> tuple[float, float]:
    """Return begin and end of an interval around a point, moved into ``[0, length]``."""
    side = min(side, length)
    begin = min(max(middle - side / 2, 0), length - side)
    return begin, begin + side
