"""Boxes of a layer's positions in an image: cells of grids and tokens, and windows around them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from torchmetrics_dna.images.cells import WHOLE, Box, cells_of, window


def test_a_grid_divides_the_image() -> None:
    cells = cells_of((3, 5))
    assert cells.shape == (15, 4)
    for row in range(3):
        for column in range(5):
            expected = torch.tensor([column / 5, row / 3, (column + 1) / 5, (row + 1) / 3])
            assert torch.allclose(cells[row * 5 + column], expected)


@pytest.mark.parametrize(
    ("tokens", "size", "grid"),
    [
        (197, (224, 224), (14, 14)),
        (261, (256, 256), (16, 16)),  # a class token and four registers
        (50, None, (7, 7)),
        (8 + 49, None, (7, 7)),
        (1 + 4 * 6, (64, 96), (4, 6)),
        (1 + 6 * 4, (96, 64), (6, 4)),
    ],
)
def test_tokens_are_a_grid_after_some_others(tokens: int, size: tuple[int, int] | None, grid: tuple[int, int]) -> None:
    cells = cells_of((tokens,), size)
    count = grid[0] * grid[1]
    assert torch.equal(cells[tokens - count :], cells_of(grid))
    assert torch.equal(cells[: tokens - count], torch.tensor([WHOLE]).expand(tokens - count, 4))


@pytest.mark.parametrize("size", [(100, 100), (60, 200), (300, 90), (7, 5)])
@pytest.mark.parametrize("crop", ["none", "center"])
@pytest.mark.parametrize("cell", [(0.0, 0.0, 0.02, 0.02), (0.5, 0.5, 0.6, 0.6), (0.9, 0.0, 1.0, 0.5)])
def test_a_window_holds_its_cell_and_lies_within_what_was_seen(size: tuple[int, int], crop: str, cell: Box) -> None:
    height, width = size
    side = min(size)
    left, top, visible = (0, 0, (width, height))
    if crop == "center":
        left, top, visible = (width - side) // 2, (height - side) // 2, (side, side)
    box = window(cell, height, width, crop)
    pixels = np.array(box) * [width, height, width, height]
    seen = np.array([left, top, left, top])
    held = seen + np.array(cell) * [*visible, *visible]
    ends = seen + np.array([0, 0, *visible])
    assert (pixels[:2] <= held[:2] + 1e-9).all()
    assert (pixels[2:] >= held[2:] - 1e-9).all()
    assert (pixels[:2] >= ends[:2] - 1e-9).all()
    assert (pixels[2:] <= ends[2:] + 1e-9).all()
    # a square, unless there is no room for it
    expected = max(side / 4, 3 * (cell[2] - cell[0]) * visible[0], 3 * (cell[3] - cell[1]) * visible[1])
    assert pixels[2] - pixels[0] == pytest.approx(min(expected, visible[0]))
    assert pixels[3] - pixels[1] == pytest.approx(min(expected, visible[1]))


def test_the_whole_stays_the_whole() -> None:
    assert window(WHOLE, 100, 300) == WHOLE
    assert window(WHOLE, 100, 300, "center") == pytest.approx((1 / 3, 0, 2 / 3, 1))
