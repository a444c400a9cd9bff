"""Activations of a batch of images, their layouts in memory, and chunks of them that fit a cache."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from torchmetrics_dna.extras import optional

# With more bins, the cells of a tile would not fit 32 bits.
_MOST_BINS = 1 << 24
_DTYPES = {torch.float32, torch.float64, torch.float16, torch.bfloat16}


class Activations:
    """Activations of a batch of images. Means and extremes are computed once, and shared by several statistics.

    Args:
        parts: Activations of consecutive images, ``{layer: (b, n, *positions)}`` each. Parts may differ in layout.

    """

    def __init__(self, *parts: Mapping[str, Tensor]) -> None:
        self.parts = parts
        self.layers = list(parts[0])
        self._means: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return sum(len(next(iter(part.values()))) for part in self.parts)

    @property
    def device(self) -> torch.device:
        """Device of all layers."""
        first_layer = next(iter(self.parts[0].values()))
        return first_layer.device

    def placed(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield each layer of each part, with the slice of its neurons among those of all layers."""
        for part in self.parts:
            first = 0
            for values in part.values():
                width = values.shape[1]
                yield slice(first, first + width), values
                first += width

    def compiled_for(self, num_bins: int = 1) -> Any:
        """Return the functions that numba compiles for the CPU if they support these values and bins, else None."""
        if num_bins > _MOST_BINS:
            return None
        for _, values in self.placed():
            if values.device.type != "cpu" or values.dtype not in _DTYPES:
                return None
        return optional("binning.cpu")

    def take(self, chosen: Tensor) -> Activations:
        """Select images by a mask, ``(B,)``, on the CPU, at least one; views if they are contiguous."""
        if chosen.all():
            return self
        selected = []
        sizes = [len(next(iter(part.values()))) for part in self.parts]
        for part, mask in zip(self.parts, torch.split(chosen, sizes), strict=True):
            indices = mask.nonzero().flatten()
            if not len(indices):
                continue
            first = int(indices[0])
            end = int(indices[-1]) + 1
            is_contiguous = end - first == len(indices)
            selection = slice(first, end) if is_contiguous else sent(indices, self.device)
            selected.append({layer: values[selection] for layer, values in part.items()})
        return Activations(*selected)

    def only(self, layers: Iterable[str]) -> Activations:
        """Select layers."""
        names = list(layers)
        if names == self.layers:
            return self
        parts = [{name: part[name] for name in names} for part in self.parts]
        selected = Activations(*parts)
        selected._means = self._means
        return selected

    def means(self, layer: str) -> Tensor:
        """Return the averages of a layer over positions, float64, ``(B, n)``; all layers are averaged at once.

        On the CPU, images are averaged one at a time, so that a mean does not depend on the batch. The float64 copy of
        one image is also small.
        """
        if layer not in self._means:
            compiled = self.compiled_for()
            means = compiled.spatial_means(self) if compiled else torch.cat([_means_of(part) for part in self.parts])
            widths = [values.shape[1] for values in self.parts[0].values()]
            means_of_layers = torch.split(means, widths, dim=1)
            self._means |= dict(zip(self.layers, means_of_layers, strict=True))
        return self._means[layer]

    @cached_property
    def extremes(self) -> Tensor:
        """``(-minimum, maximum)`` of each neuron, float64, ``(2 * N,)``.

        The extremes of two batches are merged by an elementwise maximum.
        """
        extremes_of_parts = []
        for part in self.parts:
            layers = [values.flatten(2) if values.ndim > 2 else values[..., None] for values in part.values()]
            if not len(layers[0]):
                continue
            negated_minima = [(-values.amin((0, 2))).double() for values in layers]
            maxima = [values.amax((0, 2)).double() for values in layers]
            extremes_of_parts.append(torch.cat([*negated_minima, *maxima]))
        return torch.stack(extremes_of_parts).amax(0)

    @cached_property
    def finite(self) -> Tensor:
        """True for each layer without NaN or infinity, ``(layers,)``, on their device."""
        # Means and extremes are finite if and only if all values are. Without them, all values are read once.
        parts = self.parts
        if "extremes" in vars(self):
            widths = [values.shape[1] for values in self.parts[0].values()]
            extremes_of_layers = torch.split(self.extremes.view(2, -1), widths, dim=1)
            parts = (dict(zip(self.layers, extremes_of_layers, strict=True)),)
        elif all(layer in self._means for layer in self.layers):
            parts = ({layer: self._means[layer] for layer in self.layers},)
        extremes: list[Tensor] = []
        for part in parts:
            for values in part.values():
                extremes += torch.aminmax(in_memory_order(values)) if values.numel() else values.new_zeros(2)
        # One launch on a device checks all layers. `stack` promotes types, so finite values stay finite.
        are_finite = torch.stack(extremes).isfinite().view(len(parts), -1, 2)
        return are_finite.all(2).all(0)

    def check(self, wait: bool = True) -> None:
        """Raise ValueError that names the first layer with NaN or infinity, if any.

        On a device that is a sync, or without ``wait`` nothing is checked; see :mod:`.statistics.nonfinite`.
        """
        if not self.layers or (self.device.type != "cpu" and not wait):
            return
        for layer, is_finite in zip(self.layers, self.finite.tolist(), strict=True):
            if not is_finite:
                raise ValueError(
                    f"Layer {layer!r} gives activations that are NaN or infinite;"
                    " check the images and the network (half precision overflows)"
                )


def _means_of(part: Mapping[str, Tensor]) -> Tensor:
    """Average a part of a batch in plain torch, ``(b, N)``."""
    return torch.cat([_layer_means(values) for values in part.values()], 1)


def _layer_means(values: Tensor) -> Tensor:
    """Average a layer over positions, ``(b, n)``."""
    if values.ndim == 2:
        return values.double()
    # On the CPU a mean must not depend on the batch, and the float64 copy of one image is small.
    num_at_once = 1 if values.device.type == "cpu" else max(1, len(values))
    chunks_of_images = torch.split(values, num_at_once)
    return torch.cat([images.flatten(2).mean(2, dtype=torch.float64) for images in chunks_of_images])


def split_extremes(extremes: Tensor) -> tuple[Tensor, Tensor]:
    """Split ``(..., 2 * N)`` into minimum and maximum, each ``(..., N)``; the maximum is a view."""
    negated_minimum, maximum = extremes.chunk(2, -1)
    return -negated_minimum, maximum


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
    if device.type == "cuda":
        numbers = numbers.pin_memory()
    return numbers.to(device, non_blocking=True)


def in_memory_order(values: Tensor) -> Tensor:
    """Return a view with axes in order of decreasing stride, the fastest order to read."""
    return values.permute(sorted(range(values.ndim), key=values.stride, reverse=True))


def side_by_side(layer: Tensor) -> Tensor:
    """Return a layer as ``(B, n, positions)`` with neurons or positions side by side, in single precision or more."""
    if layer.dtype not in (torch.float32, torch.float64):
        layer = layer.float()
    flat = layer.flatten(2) if layer.ndim > 2 else layer[..., None]
    if 1 in flat.stride()[1:]:
        return flat
    return flat.contiguous()


# Number of values at a time: 2 MiB of float64.
_CHUNK = 1 << 18
# Number of values that are processed at a time on a device, to amortize launches; they take 32 MiB.
_DEVICE_CHUNK = 1 << 22


def chunks(activations: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield views ``(neurons, images, positions)`` of ``(B, n, *positions)``, each with the slice of its neurons.

    A chunk has all images of its neurons, or a part of the images of one neuron that is too large.
    """
    size = _CHUNK if activations.device.type == "cpu" else _DEVICE_CHUNK
    images, neurons = activations.shape[:2]
    by_neuron = activations.flatten(2).transpose(0, 1) if activations.ndim > 2 else activations.T[..., None]
    positions = max(1, by_neuron.shape[2])
    neurons_at_once = max(1, size // (max(1, images) * positions))
    images_at_once = max(1, images if neurons_at_once > 1 else size // positions)
    for first in range(0, neurons, neurons_at_once):
        rows = slice(first, min(first + neurons_at_once, neurons))
        for image in range(0, images, images_at_once):
            yield rows, by_neuron[rows, image : image + images_at_once]
