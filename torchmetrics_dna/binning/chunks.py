"""Activations in pieces that fit a cache, so that their float64 copy is never large."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

_CHUNK = 1 << 18  # values at a time: 2 MiB of float64


def chunks(activations: Tensor, least: int = 1, size: int | None = None) -> Iterator[tuple[slice, Tensor]]:
    """Views ``(neurons, images, positions)`` of ``(B, n, *positions)``, each with the slice of its neurons.

    A piece holds whole neurons; where one neuron alone is too large, some of its images. Each image of a neuron takes
    as much room as it has positions, or ``least`` if that is more, and a piece up to ``size``.
    """
    size = size or _CHUNK
    images, neurons = activations.shape[:2]
    by_neuron = activations.flatten(2).transpose(0, 1) if activations.ndim > 2 else activations.T[..., None]
    positions = max(least, by_neuron.shape[2], 1)
    rows = max(1, size // (max(1, images) * positions))
    batch = max(1, images if rows > 1 else size // positions)
    for row in range(0, neurons, rows):
        for image in range(0, images, batch):
            yield slice(row, min(row + rows, neurons)), by_neuron[row : row + rows, image : image + batch]
