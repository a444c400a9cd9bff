"""Cells of an image, in fractions of its sides, that a layer's positions stand for."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt
from typing import Literal

import torch
from torch import Tensor

Crop = Literal["none", "center"]

# Cell of the whole image: left, top, right and bottom.
WHOLE = (0.0, 0.0, 1.0, 1.0)
# Tokens that may precede those of the patches. A class token and four registers are usual, and 8 leaves room for more.
_MOST_PREFIXES = 8


def cells_of(positions: Sequence[int], size: tuple[int, int] | None) -> Tensor:
    """Return the cell of the input that each position of a layer corresponds to; the input is a square by default.

    A grid ``(h, w)`` divides the image evenly. Tokens are the patches of the largest grid with the input's aspect ratio
    that leaves 0 to 8 tokens; these come first (class token, registers) and correspond to the whole image. So does a
    position of any other layout. A cell is left, top, right and bottom in fractions, float32,
    ``(number of positions, 4)``; one row if there are none.

    Example:
        >>> cells_of((1, 2), size=None).tolist()
        [[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]]
        >>> cells_of((5,), size=None)[:2].tolist()  # a class token, then 2 x 2 patches
        [[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.5, 0.5]]

    """
    if len(positions) == 2:
        return _grid(positions[0], positions[1])
    if len(positions) == 1:
        num_tokens = positions[0]
        grid = _grid_of_tokens(num_tokens, size or (1, 1))
        if grid is not None:
            rows, columns = grid
            prefixes = torch.tensor([WHOLE]).expand(num_tokens - rows * columns, 4)
            return torch.cat([prefixes, _grid(rows, columns)])
    return torch.tensor([WHOLE]).repeat(prod(positions), 1)


def _grid_of_tokens(num_tokens: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """Return rows and columns of the largest grid of square patches that tokens may be; None if there is none.

    Args:
        num_tokens: Number of tokens, up to 8 of which may be prefixes.
        size: Height and width of the input.

    """
    height, width = size
    for num_patches in range(num_tokens, max(num_tokens - _MOST_PREFIXES - 1, 0), -1):
        rows = round(sqrt(num_patches * height / width))
        if rows == 0 or num_patches % rows != 0:
            continue
        columns = num_patches // rows
        are_patches_square = rows * width == columns * height
        if are_patches_square:
            return rows, columns
    return None


def _grid(rows: int, columns: int) -> Tensor:
    """Return the cells of a grid, row by row, ``(rows * columns, 4)``."""
    left = torch.arange(columns).repeat(rows)
    top = torch.arange(rows).repeat_interleave(columns)
    edges = torch.stack([left, top, left + 1, top + 1], 1)
    return edges / torch.tensor([columns, rows, columns, rows])


def seen_of(height: int, width: int, crop: Crop) -> tuple[int, int, int, int]:
    """Return top, left, height and width of what is seen of an image, in pixels: all, or its largest central square."""
    if crop == "none":
        return 0, 0, height, width
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side
