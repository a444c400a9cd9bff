"""Boxes in an image, in fractions of its sides: cells that a layer's positions stand for, and windows around them."""

from __future__ import annotations

from math import prod, sqrt
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

Box = tuple[float, float, float, float]
Crop = Literal["none", "center"]

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
_MOST_PREFIXES = 8  # tokens before those of the patches: a class token and registers
_CELLS = 3  # side of a window in cells: receptive fields exceed a cell
_SHARE = 1 / 4  # minimum side of a window, in shorter sides of the image, to be recognizable


def cells_of(positions: Sequence[int], size: tuple[int, int] | None = None) -> Tensor:
    """Return the cell of the input that each position of a layer corresponds to; the input is a square by default.

    A grid ``(h, w)`` divides the image evenly. Tokens are the patches of the largest grid with the input's aspect ratio
    that leaves 0 to 8 tokens; these come first (class token, registers) and correspond to the whole image. So does a
    position of any other layout.

    Returns:
        Left, top, right and bottom in fractions, float32, ``(number of positions, 4)``; one row if there are none.

    Example:
        >>> cells_of((1, 2)).tolist()
        [[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]]
        >>> cells_of((5,))[:2].tolist()  # a class token, then 2 x 2 patches
        [[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.5, 0.5]]

    """
    if len(positions) == 2:
        return _grid(positions[0], positions[1])
    if len(positions) == 1:
        tokens, (height, width) = positions[0], size or (1, 1)
        for patches in range(tokens, max(tokens - _MOST_PREFIXES - 1, 0), -1):
            rows = round(sqrt(patches * height / width))
            if rows and patches % rows == 0 and rows * width == patches // rows * height:  # patches are square
                prefixes = torch.tensor([WHOLE]).expand(tokens - patches, 4)
                return torch.cat([prefixes, _grid(rows, patches // rows)])
    return torch.tensor([WHOLE]).repeat(prod(positions), 1)


def _grid(rows: int, columns: int) -> Tensor:
    left, top = torch.arange(columns).repeat(rows), torch.arange(rows).repeat_interleave(columns)
    edges = torch.stack([left, top, left + 1, top + 1], 1)
    return edges / torch.tensor([columns, rows, columns, rows])


def window(cell: Box, height: int, width: int, crop: Crop = "none") -> Box:
    """Return a window of an image around a cell of the network's input, in fractions of the original image.

    It is a square of three cells or a quarter of the shorter side, whichever is larger, centred on the cell, then moved
    or clipped to the region that the network saw. The whole input as cell gives the whole region.

    Args:
        cell: Left, top, right and bottom, in fractions of the input.
        height: Height of the original image, in pixels.
        width: Width of the original image, in pixels.
        crop: Crop before the resize, see :func:`resize_image`.

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


def central_square(height: int, width: int) -> tuple[int, int, int]:
    """Return top, left and side of the largest central square of an image, in pixels."""
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side
