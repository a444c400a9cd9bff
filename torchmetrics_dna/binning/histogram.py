"""Counting activations: the exact reference, in plain torch, that every faster path must equal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from torchmetrics_dna.binning.chunks import chunks
from torchmetrics_dna.binning.layouts import in_memory_order

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from torchmetrics_dna.binning.bins import Bins


def add_counts_(counts: Tensor, activations: Mapping[str, Tensor], bins: Bins, accepted: Tensor | None = None) -> None:
    """Add the histograms of all layers to ``counts`` in place.

    Args:
        counts: Shape ``(N, num_bins)``, int64, layers one after another.
        activations: ``{layer: (B, n, *positions)}``, in the same order, finite unless ``accepted`` is given.
        bins: Of all neurons.
        accepted: What each activation counts, without a question to the device: 1, or 0 to change nothing; one int64.

    """
    first = 0
    for layer in activations.values():
        for rows, values in chunks(layer):
            here = slice(first + rows.start, first + rows.stop)
            numbers = bins.take(here).numbers(values)
            numbers += torch.arange(0, len(numbers) * bins.num_bins, bins.num_bins, device=numbers.device)[:, None]
            _add_(counts[here].view(-1), numbers.flatten(), accepted)
        first += layer.shape[1]


def _add_(cells: Tensor, numbers: Tensor, accepted: Tensor | None) -> None:
    if accepted is None:
        cells += torch.bincount(numbers, minlength=len(cells))
    else:  # bincount would ask the device for the largest number, and NaN may have become any
        cells.scatter_add_(0, numbers.clamp_(0, len(cells) - 1), accepted.expand(len(numbers)))


def check_num_bins(num_bins: int, least: int = 1) -> None:
    """ValueError unless it is an integer that is large enough, in the words of torchmetrics."""
    if not isinstance(num_bins, int) or isinstance(num_bins, bool) or num_bins < least:
        raise ValueError(f"Argument `num_bins` expected to be integer larger than {least - 1}, but got {num_bins!r}")


def check_finite(activations: Mapping[str, Tensor]) -> None:
    """ValueError naming the first layer that holds NaN or infinity."""
    if activations:
        # one question to the device, however many layers
        for layer, finite in zip(activations, finite_layers(activations).tolist(), strict=True):
            if not finite:
                raise not_finite(layer)


def finite_layers(activations: Mapping[str, Tensor]) -> Tensor:
    """Whether each layer holds neither NaN nor infinity, bool, shape ``(layers,)``, on their device."""
    # the extremes are finite exactly if all values are, at the price of one read and no copy
    extremes = [
        torch.stack(torch.aminmax(in_memory_order(values))).double()
        if values.numel()
        else values.new_zeros(2, dtype=torch.float64)
        for values in activations.values()
    ]
    return torch.stack(extremes).isfinite().all(1)


def not_finite(layer: str) -> ValueError:
    """What is said about a layer that holds NaN or infinity."""
    return ValueError(
        f"Layer {layer!r} gives activations that are NaN or infinite;"
        " check the images and the network (half precision overflows)"
    )
