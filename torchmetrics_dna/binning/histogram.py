"""Count activations: the reference in plain torch, which every faster implementation must equal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from torchmetrics_dna.binning.layouts import chunks, in_memory_order

if TYPE_CHECKING:
    from torch import Tensor

    from torchmetrics_dna.binning.bins import Bins
    from torchmetrics_dna.binning.layouts import Parts


def add_layer_(counts: Tensor, layer: Tensor, bins: Bins, accepted: Tensor | None = None) -> None:
    """Add the histograms of one layer ``(B, n, *positions)`` to its counts in place."""
    for rows, values in chunks(layer):
        numbers = bins.take(rows).numbers(values)
        numbers += torch.arange(0, len(numbers) * bins.num_bins, bins.num_bins, device=numbers.device)[:, None]
        _add_(counts[rows].view(-1), numbers.flatten(), accepted)


def _add_(cells: Tensor, numbers: Tensor, accepted: Tensor | None) -> None:
    if accepted is None:
        cells += torch.bincount(numbers, minlength=len(cells))
    else:  # bincount would sync for the maximum, and NaN converts to any integer
        cells.scatter_add_(0, numbers.clamp_(0, len(cells) - 1), accepted.expand(len(numbers)))


def check_num_bins(num_bins: int) -> None:
    """Raise ValueError, in the words of torchmetrics, unless ``num_bins`` is an integer of 2 or more.

    All sets are equal in a single bin.
    """
    if not isinstance(num_bins, int) or isinstance(num_bins, bool) or num_bins < 2:
        raise ValueError(f"Argument `num_bins` expected to be integer larger than 1, but got {num_bins!r}")


def check_finite(parts: Parts) -> None:
    """Raise ValueError that names the first layer with NaN or infinity, if any."""
    if parts[0]:
        # a single device sync for all layers
        for layer, finite in zip(parts[0], finite_layers(parts).tolist(), strict=True):
            if not finite:
                raise ValueError(
                    f"Layer {layer!r} gives activations that are NaN or infinite;"
                    " check the images and the network (half precision overflows)"
                )


def finite_layers(parts: Parts) -> Tensor:
    """Test if each layer is finite in all parts, bool, shape ``(layers,)``, on their device."""
    # extremes are finite if and only if all values are, and need one read and no copy
    extremes = [
        end
        for part in parts
        for values in part.values()
        for end in (torch.aminmax(in_memory_order(values)) if values.numel() else values.new_zeros(2))
    ]
    # a single launch on a device for all layers; types are promoted, so that finite values stay finite
    return torch.stack(extremes).isfinite().view(len(parts), -1, 2).all(2).all(0)
