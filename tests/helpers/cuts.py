"""Batches in parts, as they come from networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor


def _unlike(values: Tensor) -> list[Tensor]:
    """Pieces of two layouts: neurons lie together in the last one."""
    return [values[:1], values[1:].transpose(1, -1).contiguous().transpose(1, -1)]


# how a batch may come in parts: views of one memory, or memory of their own, also in another order than the images
CUTS: dict[str, Callable[[Tensor], Sequence[Tensor]]] = {
    "one by one": lambda values: torch.split(values, 1),
    "backwards": lambda values: [piece.flip(0) for piece in reversed(torch.split(values.flip(0), 2))],
    "with an empty part": lambda values: [values[:0].clone(), values.clone(), values[:0]],
    "layouts that differ": _unlike,
}
every_cut = pytest.mark.parametrize("cut", CUTS)


def in_parts(values: Tensor, cut: str) -> list[dict[str, Tensor]]:
    """A batch of two layers, the first with twice the values, cut like this."""
    return [{"double": piece * 2, "activations": piece} for piece in CUTS[cut](values)]
