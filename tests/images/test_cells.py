"""Cells of a layer's positions in an image: of grids and of tokens."""

from __future__ import annotations

import pytest
import torch

from torchmetrics_dna.images.cells import WHOLE, cells_of


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
