"""Heat maps: the maps of several layers, joined over the input of the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from torchmetrics_dna.images.cells import cells_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

SIDE = 56


def heat(maps: Mapping[str, Tensor], input_size: tuple[int, int] | None = None, side: int = SIDE) -> Tensor:
    """Join the maps of all layers to one of ``side * side`` cells, whose mean is the sum of the layers' means.

    Each position of a layer is spread evenly over its cell of the input. A class token is spread over all of it.

    Args:
        maps: For each layer ``(B, *positions)``, such as from :meth:`DNARealism.map`.
        input_size: Height and width of the network's input; by default a square.
        side: Number of cells in each direction.

    Returns:
        Shape ``(B, side, side)``, float64.

    Example:
        >>> heat({"a": torch.tensor([[[0.0, 4.0]]]), "b": torch.tensor([1.0])}, side=2)
        tensor([[[1., 5.],
                 [1., 5.]]], dtype=torch.float64)

    """
    joined: Tensor | None = None
    for values in maps.values():
        cells = cells_of(values.shape[1:], input_size).double().to(values.device)
        down, across = (_covered(cells[:, first], cells[:, first + 2], side) for first in (1, 0))
        shares = values.flatten(1).double() if values.ndim > 1 else values[:, None].double()
        # a cell's value times its part of the input is the position's part of the mean
        shares = shares / (len(cells) * (cells[:, 2] - cells[:, 0]) * (cells[:, 3] - cells[:, 1]))
        layer = torch.stack([down.T @ (row[:, None] * across) for row in shares])
        joined = layer if joined is None else joined + layer
    assert joined is not None
    return joined


def _covered(begins: Tensor, ends: Tensor, side: int) -> Tensor:
    """Return the share of each of ``side`` equal intervals that each cell covers, ``(positions, side)``."""
    edges = torch.arange(side + 1, dtype=torch.float64, device=begins.device) / side
    overlap = torch.minimum(ends[:, None], edges[1:]) - torch.maximum(begins[:, None], edges[:-1])
    return overlap.clamp(min=0) * side
