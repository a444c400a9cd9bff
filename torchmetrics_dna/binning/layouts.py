"""How activations lie in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    Parts = Sequence[Mapping[str, Tensor]]  # a batch, some images after others: each ``{layer: (b, n, *positions)}``


def placed(parts: Parts) -> Iterator[tuple[slice, Tensor]]:
    """Each layer of each part, after where its neurons are among those of all layers."""
    for part in parts:
        first = 0
        for layer in part.values():
            yield slice(first, first + layer.shape[1]), layer
            first += layer.shape[1]


def picture_rows(layer: Tensor) -> Tensor:
    """A view ``(B, n, rows, positions)`` of ``(B, n, *positions)``, with one row where all lie evenly.

    Only what has more than two axes of positions, and lies in pieces, is copied.
    """
    if layer.ndim == 2:
        return layer[..., None, None]
    try:
        return layer.view(*layer.shape[:2], 1, -1)
    except RuntimeError:
        return layer if layer.ndim == 4 else layer.flatten(2)[:, :, None]


def in_memory_order(values: Tensor) -> Tensor:
    """A view with the axes in the order in which they lie in memory, which is by far the fastest to go through."""
    return values.permute(sorted(range(values.ndim), key=values.stride, reverse=True))
