"""How activations lie in memory, and pieces of them that fit a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import torch
    from torch import Tensor

    Parts = Sequence[Mapping[str, Tensor]]  # a batch, some images after others: each ``{layer: (b, n, *positions)}``


def placed(parts: Parts) -> Iterator[tuple[slice, Tensor]]:
    """Yield each layer of each part, with the slice of its neurons among those of all layers."""
    for part in parts:
        first = 0
        for layer in part.values():
            yield slice(first, first + layer.shape[1]), layer
            first += layer.shape[1]


def picture_rows(layer: Tensor) -> Tensor:
    """A view ``(B, n, rows, positions)`` of ``(B, n, *positions)``, with one row where all lie evenly.

    It is a copy only where there are more than two axes of positions and these do not lie evenly.
    """
    if layer.ndim == 2:
        return layer[..., None, None]
    try:
        return layer.view(*layer.shape[:2], 1, -1)
    except RuntimeError:
        return layer if layer.ndim == 4 else layer.flatten(2)[:, :, None]


def sent(numbers: Tensor, device: torch.device) -> Tensor:
    """Numbers of the host on a device, without waiting for it: CUDA reads pinned memory when it gets there."""
    return (numbers.pin_memory() if device.type == "cuda" else numbers).to(device, non_blocking=True)


def in_memory_order(values: Tensor) -> Tensor:
    """A view with the axes in the order in which they lie in memory, which is by far the fastest to go through."""
    return values.permute(sorted(range(values.ndim), key=values.stride, reverse=True))


_CHUNK = 1 << 18  # values at a time: 2 MiB of float64
_DEVICE_CHUNK = 1 << 22  # likewise on a device, which each launch keeps waiting: 32 MiB


def chunks(activations: Tensor, least: int = 1, size: int | None = None) -> Iterator[tuple[slice, Tensor]]:
    """Views ``(neurons, images, positions)`` of ``(B, n, *positions)``, each with the slice of its neurons.

    A piece holds whole neurons; where one neuron alone is too large, some of its images. Each image of a neuron takes
    as much room as it has positions, or ``least`` if that is more, and a piece up to ``size``.
    """
    size = size or (_CHUNK if activations.device.type == "cpu" else _DEVICE_CHUNK)
    images, neurons = activations.shape[:2]
    by_neuron = activations.flatten(2).transpose(0, 1) if activations.ndim > 2 else activations.T[..., None]
    positions = max(least, by_neuron.shape[2], 1)
    rows = max(1, size // (max(1, images) * positions))
    batch = max(1, images if rows > 1 else size // positions)
    for row in range(0, neurons, rows):
        for image in range(0, images, batch):
            yield slice(row, min(row + rows, neurons)), by_neuron[row : row + rows, image : image + batch]
