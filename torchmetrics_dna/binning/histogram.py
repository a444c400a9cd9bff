"""Count activations with plain torch. The counts of all faster implementations must be equal to these."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torchmetrics_dna.binning.activations import chunks
from torchmetrics_dna.options import argument

if TYPE_CHECKING:
    from torchmetrics_dna.binning.bins import Bins


def add_layer_(counts: Tensor, layer: Tensor, bins: Bins) -> None:
    """Add the histograms of one layer, ``(B, n, *positions)``, to its counts in place. NaN is counted in any bin."""
    for rows, values in chunks(layer):
        numbers = bins.take(rows).numbers(values)
        first_cells = torch.arange(0, len(numbers) * bins.num_bins, bins.num_bins, device=numbers.device)
        numbers += first_cells[:, None]
        numbers = numbers.flatten()
        cells = counts[rows].view(-1)
        ones = cells.new_ones(()).expand(len(numbers))
        # On a device, NaN has not been refused, and its conversion may give any integer, so clamp numbers.
        cells.scatter_add_(0, numbers.clamp_(0, len(cells) - 1), ones)


def check_num_bins(num_bins: int) -> None:
    """Raise ValueError, with the message of torchmetrics, unless ``num_bins`` is an integer of 2 or more.

    With a single bin, the distance between any two sets would be 0.
    """
    if not isinstance(num_bins, int) or isinstance(num_bins, bool) or num_bins < 2:
        raise ValueError(f"{argument('num_bins')} expected to be integer larger than 1, but got {num_bins!r}")
