"""Compact exact storage of the histograms of single images, until the reference is known."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CELLS = 1 << 20  # counts at a time: 8 MiB of int64


class KeptLayer(NamedTuple):
    """Part of a row for one layer."""

    neurons: Tensor  # flat indices of the stored neurons, int64
    positions: int  # number of activations of an image for each neuron
    size: int  # number of integers of each neuron


class SingleRows:
    """Layout of the histograms of one image in a row of integers.

    A neuron is stored as the sorted bins of its activations if these are fewer than bins, else as the count of each
    bin. Neurons of weight 0 are not stored. For the default extractor with 1000 bins, a row takes 0.4 MB.

    Args:
        positions: Number of activations of an image for each neuron, by layer.
        weights: Weights of Eq. (5), shape ``(N,)``.
        num_bins: Number of bins of each neuron.
        widths: Number of neurons of each layer.

    """

    def __init__(self, positions: list[int], weights: Tensor, num_bins: int, widths: list[int]) -> None:
        self.num_bins = num_bins
        self.layers: list[KeptLayer] = []
        weights = weights.cpu()
        sizes, first = torch.zeros(len(weights), dtype=torch.int64), 0
        self.activations = torch.tensor(positions).repeat_interleave(torch.tensor(widths))
        for count, width in zip(positions, widths, strict=True):
            neurons = weights[first : first + width].nonzero().flatten() + first
            size = min(count, num_bins)
            self.layers.append(KeptLayer(neurons, count, size))
            sizes[neurons] = size
            first += width
        self.starts = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        largest = max([num_bins, *(count for count in positions if count >= num_bins)])
        self.dtype = torch.int16 if largest < 1 << 15 else torch.int32

    def empty(self, images: int, device: torch.device | str) -> Tensor:
        """Allocate rows for images, ``(images, L)``."""
        return torch.zeros(images, int(self.starts[-1]), dtype=self.dtype, device=device)

    def place(self, neurons: Tensor) -> slice:
        """Return the columns of consecutive stored neurons of one layer."""
        return slice(int(self.starts[neurons[0]]), int(self.starts[neurons[-1] + 1]))

    def histograms(self, rows: Tensor) -> Iterator[tuple[Tensor, int, Tensor]]:
        """Yield chunks of neurons, with their activations per image and histograms ``(n, images, num_bins)``."""
        step = max(1, _CELLS // (max(1, len(rows)) * self.num_bins))
        for layer in self.layers:
            for neurons in torch.split(layer.neurons, step):
                if len(neurons):
                    histograms = rows[:, self.place(neurons)].view(len(rows), len(neurons), layer.size)
                    histograms = histograms.transpose(0, 1).long()
                    if layer.positions < self.num_bins:
                        histograms = histograms_of(histograms, self.num_bins)
                    yield neurons.to(rows.device), layer.positions, histograms

    def add_counts_(self, counts: Tensor, rows: Tensor) -> None:
        """Add the histograms of all rows to counts, shape ``(N, num_bins)``, int64, in place."""
        for neurons, _, histograms in self.histograms(rows):
            counts[neurons] += histograms.sum(1)


def row_of_bins(numbers: Tensor, num_bins: int) -> Tensor:
    """Encode bins ``(n, images, positions)`` for storage, as ``(n, images, size)``."""
    return numbers.sort(2).values if numbers.shape[2] < num_bins else histograms_of(numbers, num_bins)


def histograms_of(numbers: Tensor, num_bins: int) -> Tensor:
    """Count bins ``(n, images, positions)`` to ``(n, images, num_bins)``, int64."""
    counts = numbers.new_zeros(*numbers.shape[:2], num_bins)
    return counts.scatter_add_(2, numbers, numbers.new_ones(1, 1, 1).expand_as(numbers))


def positions_of(activations: Mapping[str, Tensor]) -> list[int]:
    """Return the number of activations of an image for each neuron, by layer."""
    return [prod(layer.shape[2:]) for layer in activations.values()]
