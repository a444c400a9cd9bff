"""Cells of an image, in fractions of its sides, that a layer's positions stand for."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt
from typing import Literal

import torch
from torch import Tensor

Crop = Literal["none", "center"]

WHOLE = (0.0, 0.0, 1.0, 1.0)
_MOST_PREFIXES = 8  # tokens before those of the patches: a class token and registers


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


def seen_of(height: int, width: int, crop: Crop) -> tuple[int, int, int, int]:
    """Return top, left, height and width of what is seen of an image, in pixels: all, or its largest central square."""
    if crop == "none":
        return 0, 0, height, width
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side
