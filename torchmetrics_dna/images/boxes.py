"""Where in an image a position of a layer lies: cells and windows, in shares of a width and a height."""

from __future__ import annotations

from math import prod, sqrt
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torchmetrics_dna.images.resize import central_square

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_dna.images.resize import Crop

Box = tuple[float, float, float, float]

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
_MOST_PREFIXES = 8  # tokens before those of the patches: a class token and registers
_CELLS = 3  # that a window shows in a row: a neuron sees more than its own cell
_SHARE = 1 / 4  # of the shorter side, at least, since less can't be told at a glance


def cells_of(positions: Sequence[int], size: tuple[int, int] | None = None) -> Tensor:
    """The part of its input that each position of a layer stands for.

    A grid ``(h, w)`` divides the image evenly. Tokens are the patches of the largest grid, of the input's own
    proportions, that leaves 0 to 8 of them; these come first (class token, registers) and stand for the whole image.
    So does a position of any other layout.

    Args:
        positions: The shape of a layer's positions; ``()`` for a layer without any.
        size: Height and width of the network's input; by default a square.

    Returns:
        Left, top, right and bottom in shares, float32, ``(number of positions, 4)``; one row if there are none.

    Example:
        >>> cells_of((1, 2)).tolist()
        [[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]]
        >>> cells_of((5,))[:2].tolist()  # a class token, then 2 x 2 patches
        [[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.5, 0.5]]

    """
    if len(positions) == 2:
        return _grid(positions[0], positions[1])
    if len(positions) == 1 and (found := _patches(positions[0], size or (1, 1))):
        patches = _grid(*found)
        return torch.cat([torch.tensor([WHOLE]).expand(positions[0] - len(patches), 4), patches])
    return torch.tensor([WHOLE]).repeat(prod(positions), 1)


def window(cell: Box, height: int, width: int, crop: Crop = "none") -> Box:
    """A window of an image around a cell of what the network saw of it.

    It is a square of three cells or a quarter of the shorter side, whichever is larger, with the cell in its middle;
    moved, or cut where it is too large, so that it lies within what the network saw.

    Args:
        cell: Left, top, right and bottom, in shares of what the network saw; all of it gives all of it.
        height: Of the image as it is, in pixels.
        width: Likewise.
        crop: What was cut out before the resize, see :func:`resize_image`.

    Returns:
        Left, top, right and bottom, in shares of the image as it is.

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


def _span(middle: float, side: float, whole: int) -> tuple[float, float]:
    """Begin and end of a stretch around a point, moved to lie within 0 and the whole."""
    side = min(side, whole)
    begin = min(max(middle - side / 2, 0), whole - side)
    return begin, begin + side


def _patches(tokens: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """Rows and columns of the largest grid of square patches that leaves few enough tokens."""
    height, width = size
    for patches in range(tokens, max(tokens - _MOST_PREFIXES - 1, 0), -1):
        rows = round(sqrt(patches * height / width))
        if rows and patches % rows == 0 and rows * width == patches // rows * height:
            return rows, patches // rows
    return None


def _grid(rows: int, columns: int) -> Tensor:
    left, top = torch.arange(columns).repeat(rows), torch.arange(rows).repeat_interleave(columns)
    edges = torch.stack([left, top, left + 1, top + 1], 1)
    return edges / torch.tensor([columns, rows, columns, rows])
