"""Activations of a batch of images, their layouts in memory, and chunks that fit into a cache."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from torchmetrics_dna.extras import optional

# Largest number of bins of compiled functions. With more bins, the indices of counts would not fit into 32 bits.
_MOST_BINS = 1 << 24
_DTYPES = {torch.float32, torch.float64, torch.float16, torch.bfloat16}


class Activations:
    """Activations of a batch of images. Means and extremes are computed once, and shared by several statistics.

    Args:
        parts: Activations of consecutive parts of the batch, ``{layer: (b, n, *positions)}`` each. Parts may have
            different layouts in memory.

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
        """Yield each layer of each part, with the slice of its neurons among the neurons of all layers."""
        for part in self.parts:
            first = 0
            for values in part.values():
                width = values.shape[1]
                yield slice(first, first + width), values
                first += width

    def compiled_for(self, num_bins: int = 1) -> Any:
        """Return the module of functions that numba compiles for the CPU.

        Return None if numba is missing, or if the functions do not support these values or this number of bins.
        """
        if num_bins > _MOST_BINS:
            return None
        for _, values in self.placed():
            if values.device.type != "cpu" or values.dtype not in _DTYPES:
                return None
        return optional("binning.cpu")

    def take(self, chosen: Tensor) -> Activations:
        """Return the images for which a mask is True; views of the activations if the images are consecutive.

        Args:
            chosen: The mask, ``(B,)``, on the CPU. At least one image must be chosen.

        """
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
        """Return the activations of these layers alone."""
        names = list(layers)
        if names == self.layers:
            return self
        parts = [{name: part[name] for name in names} for part in self.parts]
        selected = Activations(*parts)
        selected._means = self._means
        return selected

    def means(self, layer: str) -> Tensor:
        """Return the averages of a layer over positions, float64, ``(B, n)``.

        The first call averages all layers. On the CPU, images are averaged one at a time. So a mean does not depend on
        the batch, and float64 copies stay small.
        """
        if layer not in self._means:
            compiled = self.compiled_for()
            means = compiled.spatial_means(self) if compiled else torch.cat([_means_of(part) for part in self.parts])
            self._means |= self._by_layer(means)
        return self._means[layer]

    def _by_layer(self, values: Tensor) -> dict[str, Tensor]:
        """Split a tensor ``(rows, N)`` into one view per layer."""
        widths = [layer.shape[1] for layer in self.parts[0].values()]
        return dict(zip(self.layers, torch.split(values, widths, dim=1), strict=True))

    @cached_property
    def extremes(self) -> Tensor:
        """Minimum and maximum of each neuron, as ``(-minimum, maximum)``, float64, ``(2 * N,)``.

        The minimum is negated so that an elementwise maximum merges the extremes of two batches.
        """
        extremes_of_parts = []
        for part in self.parts:
            layers = [_flat(values) for values in part.values()]
            num_images = len(layers[0])
            if num_images == 0:
                continue
            negated_minima = [(-values.amin((0, 2))).double() for values in layers]
            maxima = [values.amax((0, 2)).double() for values in layers]
            extremes_of_parts.append(torch.cat([*negated_minima, *maxima]))
        return torch.stack(extremes_of_parts).amax(0)

    @cached_property
    def finite(self) -> Tensor:
        """Bool for each layer, ``(layers,)``, on the device. True if the layer has no NaN or infinity."""
        checked_parts = self._parts_to_check()
        extremes: list[Tensor] = []
        for part in checked_parts:
            for values in part.values():
                extremes += torch.aminmax(in_memory_order(values)) if values.numel() else values.new_zeros(2)
        # On a device, one launch checks all layers. `stack` promotes types, so finite values stay finite.
        are_finite = torch.stack(extremes).isfinite().view(len(checked_parts), -1, 2)
        return are_finite.all(2).all(0)

    def _parts_to_check(self) -> Sequence[Mapping[str, Tensor]]:
        """Return the smallest tensors by layer that are finite if and only if all activations of the layer are.

        They are the extremes or the means if these have been computed, and else the parts of the batch themselves.
        """
        # The extremes are a cached property, so they have been computed if they are an attribute.
        if "extremes" in vars(self):
            return [self._by_layer(self.extremes.view(2, -1))]
        if all(layer in self._means for layer in self.layers):
            return [{layer: self._means[layer] for layer in self.layers}]
        return self.parts

    def check(self, wait: bool = True) -> None:
        """Raise ValueError with the first layer that has NaN or infinity, if there is one.

        Args:
            wait: Whether to sync with a device for this check. If not, only activations on the CPU are checked, see
                :mod:`.statistics.nonfinite`.

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
    """Average a part of a batch over positions with plain torch, float64, ``(b, N)``."""
    return torch.cat([_layer_means(values) for values in part.values()], 1)


def _layer_means(values: Tensor) -> Tensor:
    """Average a layer over positions, float64, ``(b, n)``."""
    if values.ndim == 2:
        return values.double()
    # On the CPU, a mean must not depend on the batch, so images are averaged one at a time.
    num_at_once = 1 if values.device.type == "cpu" else max(1, len(values))
    chunks_of_images = torch.split(values, num_at_once)
    return torch.cat([images.flatten(2).mean(2, dtype=torch.float64) for images in chunks_of_images])


def split_extremes(extremes: Tensor) -> tuple[Tensor, Tensor]:
    """Split extremes ``(-minimum, maximum)``, ``(..., 2 * N)``, and return the minimum and the maximum.

    Both have the shape ``(..., N)``. The maximum is a view of the extremes.
    """
    negated_minimum, maximum = extremes.chunk(2, -1)
    return -negated_minimum, maximum


def picture_rows(layer: Tensor) -> Tensor:
    """Return a layer ``(B, n, *positions)`` as a view ``(B, n, rows, positions)``.

    There is one row if all positions have the same stride. The layer is copied only if positions have more than two
    axes and no common stride.
    """
    if layer.ndim == 2:
        return layer[..., None, None]
    try:
        return layer.view(*layer.shape[:2], 1, -1)
    except RuntimeError:
        return layer if layer.ndim == 4 else layer.flatten(2)[:, :, None]


def sent(numbers: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor from the host to a device asynchronously. For CUDA, the copy is from pinned memory."""
    if device.type == "cuda":
        numbers = numbers.pin_memory()
    return numbers.to(device, non_blocking=True)


def in_memory_order(values: Tensor) -> Tensor:
    """Return a view with axes in order of decreasing stride, which is the fastest order to read."""
    return values.permute(sorted(range(values.ndim), key=values.stride, reverse=True))


def _flat(layer: Tensor) -> Tensor:
    """Return a layer ``(B, n, *positions)`` as ``(B, n, positions)``. A layer ``(B, n)`` has one position."""
    return layer.flatten(2) if layer.ndim > 2 else layer[..., None]


def side_by_side(layer: Tensor) -> Tensor:
    """Return a layer as ``(B, n, positions)``, in which neurons or positions are contiguous, in float32 or float64."""
    if layer.dtype not in (torch.float32, torch.float64):
        layer = layer.float()
    flat = _flat(layer)
    if 1 in flat.stride()[1:]:
        return flat
    return flat.contiguous()


# Number of values that are processed at a time on the CPU: 2 MiB of float64.
_CHUNK = 1 << 18
# Number of values that are processed at a time on a device: 32 MiB of float64. Larger chunks need fewer launches.
_DEVICE_CHUNK = 1 << 22


def chunks(activations: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Split a layer ``(B, n, *positions)`` into chunks that fit into a cache.

    A chunk has all images of some neurons. If one neuron is too large for a chunk, its images are split.

    Yields:
        The slice of the neurons of a chunk, and a view ``(neurons, images, positions)`` of their activations.

    """
    size = _CHUNK if activations.device.type == "cpu" else _DEVICE_CHUNK
    images, neurons = activations.shape[:2]
    by_neuron = _flat(activations).transpose(0, 1)
    positions = max(1, by_neuron.shape[2])
    neurons_at_once = max(1, size // (max(1, images) * positions))
    images_at_once = max(1, images if neurons_at_once > 1 else size // positions)
    for first in range(0, neurons, neurons_at_once):
        rows = slice(first, min(first + neurons_at_once, neurons))
        for image in range(0, images, images_at_once):
            yield rows, by_neuron[rows, image : image + images_at_once]
