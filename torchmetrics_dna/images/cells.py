"""Cells of an image that correspond to the positions of a layer.

A cell is a rectangle. Its edges are fractions of the width and height of the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt
from typing import Literal

import torch
from torch import Tensor

Crop = Literal["none", "center"]

# Cell of the whole image: left, top, right and bottom.
WHOLE = (0.0, 0.0, 1.0, 1.0)
# Maximum number of tokens before those of the patches. Usual networks have a class token and up to four registers.
_MOST_PREFIXES = 8


def cells_of(positions: Sequence[int], size: tuple[int, int] | None) -> Tensor:
    """Return the cell of the input image that corresponds to each position of a layer.

    The positions of a grid ``(h, w)`` divide the image evenly. The tokens of a transformer are assigned to the largest
    grid of square patches that leaves at most 8 tokens. These 8 tokens precede the patches (class token, registers) and
    correspond to the whole image. In any other layout, each position corresponds to the whole image.

    Args:
        positions: Shape of the positions of the layer: ``(h, w)`` for a grid, ``(tokens,)`` for tokens.
        size: Height and width of the input image. None for a square image.

    Returns:
        Left, top, right and bottom edge of each cell, as fractions, float32, ``(number of positions, 4)``. For a layer
        without positions, one row with the whole image.

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
    """Return the number of rows and columns of the grid of patches to which tokens belong.

    Args:
        num_tokens: Number of tokens, of which up to 8 may precede the patches.
        size: Height and width of the input image.

    Returns:
        Rows and columns of the largest possible grid of square patches. None if there is no such grid.

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
    """Return the cells of a grid ``(rows * columns, 4)``, row by row."""
    left = torch.arange(columns).repeat(rows)
    top = torch.arange(rows).repeat_interleave(columns)
    edges = torch.stack([left, top, left + 1, top + 1], 1)
    return edges / torch.tensor([columns, rows, columns, rows])


def seen_of(height: int, width: int, crop: Crop) -> tuple[int, int, int, int]:
    """Return the top, left, height and width of the visible part of an image in pixels.

    With ``crop="none"``, the whole image is visible. With ``"center"``, this is the largest central square.
    """
    if crop == "none":
        return 0, 0, height, width
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side
