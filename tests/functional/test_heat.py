from __future__ import annotations

import numpy as np
import pytest
import torch

from torchmetrics_dna.functional import heat


@pytest.mark.parametrize("side", [7, 56])
def test_means_are_kept_whatever_the_layout(side: int) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = {
        "grid": torch.rand(2, 8, 8, generator=generator),
        "odd": torch.rand(2, 5, 3, generator=generator),
        "tokens": torch.rand(2, 17, generator=generator),  # a class token and 4 x 4 patches
        "pooled": torch.rand(2, generator=generator),
        "volume": torch.rand(2, 2, 3, 4, generator=generator),
    }
    joined = heat(maps, side=side)
    assert joined.shape == (2, side, side)
    expected = sum(values.double().reshape(2, -1).mean(1) for values in maps.values())
    np.testing.assert_allclose(joined.mean((1, 2)), expected, rtol=1e-6)


def test_positions_stay_where_they_are() -> None:
    grid = torch.zeros(1, 4, 4)
    grid[0, 1, 2] = 16
    expected = np.kron(grid[0].numpy(), np.ones((2, 2)))
    np.testing.assert_allclose(heat({"a": grid}, side=8)[0], expected, atol=1e-6)
    tokens = torch.cat([torch.tensor([[17.0]]), grid.flatten(1)], 1)
    np.testing.assert_allclose(heat({"a": tokens}, side=4)[0], 1 + grid[0].numpy() * 16 / 17, rtol=1e-6)
