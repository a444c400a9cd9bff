"""Memory layouts of activations, and chunks of them that fit a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    Parts = Sequence[Mapping[str, Tensor]]  # consecutive parts of a batch: each ``{layer: (b, n, *positions)}``


def placed(parts: Parts) -> Iterator[tuple[slice, Tensor]]:
    """Yield each layer of each part, with the slice of its neurons among those of all layers."""
    for part in parts:
        first = 0
        for layer in part.values():
            yield slice(first, first + layer.shape[1]), layer
            first += layer.shape[1]


def picture_rows(layer: Tensor) -> Tensor:
    """Return a view ``(B, n, rows, positions)`` of ``(B, n, *positions)``, with one row if the stride is uniform.

    It is a copy only if there are more than two axes of positions without a uniform stride.
    """
    if layer.ndim == 2:
        return layer[..., None, None]
    try:
        return layer.view(*layer.shape[:2], 1, -1)
    except RuntimeError:
        return layer if layer.ndim == 4 else layer.flatten(2)[:, :, None]


def sent(numbers: Tensor, device: torch.device) -> Tensor:
    """Copy numbers from the host to a device asynchronously, from pinned memory for CUDA."""
    return (numbers.pin_memory() if device.type == "cuda" else numbers).to(device, non_blocking=True)


def images_of(parts: Parts, chosen: Tensor) -> Parts:
    """Select images of a batch by the mask ``chosen``, ``(B,)``, on the CPU; a view if the selection is contiguous."""
    sizes = [len(next(iter(part.values()))) for part in parts]
    if chosen.all():
        return parts
    selected = []
    for part, mask in zip(parts, torch.split(chosen, sizes), strict=True):
        indices = mask.nonzero().flatten()
        if len(indices):
            first, end = int(indices[0]), int(indices[-1]) + 1
            is_contiguous = end - first == len(indices)
            selection = slice(first, end) if is_contiguous else sent(indices, next(iter(part.values())).device)
            selected.append({layer: values[selection] for layer, values in part.items()})
    return selected


def in_memory_order(values: Tensor) -> Tensor:
    """Return a view with axes in order of decreasing stride, the fastest order to read."""
    return values.permute(sorted(range(values.ndim), key=values.stride, reverse=True))


def side_by_side(layer: Tensor) -> Tensor:
    """Return a layer as ``(B, n, positions)`` with neurons or positions side by side, in single precision or more."""
    layer = layer if layer.dtype in (torch.float32, torch.float64) else layer.float()
    flat = layer.flatten(2) if layer.ndim > 2 else layer[..., None]
    return flat if 1 in flat.stride()[1:] else flat.contiguous()


_CHUNK = 1 << 18  # values at a time: 2 MiB of float64
_DEVICE_CHUNK = 1 << 22  # values at a time on a device, to amortize launches: 32 MiB


def chunks(activations: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield views ``(neurons, images, positions)`` of ``(B, n, *positions)``, each with the slice of its neurons.

    A chunk has all images of its neurons, or a part of the images of one neuron that is too large.
    """
    size = _CHUNK if activations.device.type == "cpu" else _DEVICE_CHUNK
    images, neurons = activations.shape[:2]
    by_neuron = activations.flatten(2).transpose(0, 1) if activations.ndim > 2 else activations.T[..., None]
    positions = max(1, by_neuron.shape[2])
    rows = max(1, size // (max(1, images) * positions))
    batch = max(1, images if rows > 1 else size // positions)
    for row in range(0, neurons, rows):
        for image in range(0, images, batch):
            yield slice(row, min(row + rows, neurons)), by_neuron[row : row + rows, image : image + batch]
