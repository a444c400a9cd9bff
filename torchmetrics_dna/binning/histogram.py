"""Counting activations: the exact reference, in plain torch, that every faster path must equal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from torchmetrics_dna.binning.chunks import chunks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

HALF_WIDTH_MARGIN = 1e-8  # of the official implementation; gives dead neurons a width


def activation_histogram(activations: Tensor, low: Tensor, high: Tensor, num_bins: int) -> Tensor:
    r"""Histogram of each neuron, Eq. (1) and (2) of the paper.

    With centre :math:`m` and half width :math:`s` (half the span plus 1e-8) of a neuron's bounds, value
    :math:`x` falls in bin :math:`\min(\lfloor (z + 1) B / 2 \rfloor, B - 1)` where
    :math:`z = \mathrm{clamp}((x - m) / s, -1, 1)`, all in float64. Every position (pixel, token) of every
    image is one count; values beyond the bounds count in the end bins.

    Args:
        activations: Shape ``(B, n, *positions)``, floating point, finite.
        low: Lower bounds, shape ``(n,)``, float64.
        high: Upper bounds, shape ``(n,)``, float64.
        num_bins: Number of bins.

    Returns:
        Counts, int64, shape ``(n, num_bins)``.

    Raises:
        ValueError: If shapes do not fit, ``num_bins`` is not a positive integer, or a value is not finite.

    Example:
        >>> activations = torch.tensor([[0.1, 5.0], [0.6, -7.0], [0.6, 0.0]])
        >>> activation_histogram(activations, torch.tensor([0.0, -1.0]), torch.tensor([1.0, 1.0]), num_bins=4)
        tensor([[1, 0, 2, 0],
                [1, 0, 1, 1]])

    """
    check_num_bins(num_bins)
    if activations.ndim < 2 or low.shape != high.shape or low.shape != activations.shape[1:2]:
        raise ValueError(
            "Expected activations (B, n, *positions) and bounds (n,), but got"
            f" {tuple(activations.shape)}, {tuple(low.shape)} and {tuple(high.shape)}"
        )
    check_finite({"activations": activations})
    counts = activations.new_zeros((activations.shape[1], num_bins), dtype=torch.int64)
    _count_into(counts, activations, low, high)
    return counts


def add_counts_(counts: Tensor, activations: Mapping[str, Tensor], low: Tensor, high: Tensor) -> None:
    """Add the histograms of all layers to ``counts`` in place; bad activations change nothing.

    Args:
        counts: Shape ``(N, num_bins)``, int64, layers one after another.
        activations: ``{layer: (B, n, *positions)}``, in the same order.
        low: Lower bounds, shape ``(N,)``, float64.
        high: Upper bounds, shape ``(N,)``, float64.

    Raises:
        ValueError: If a value is not finite.

    """
    check_finite(activations)
    start = 0
    for layer in activations.values():
        rows = slice(start, start + layer.shape[1])
        _count_into(counts[rows], layer, low[rows], high[rows])
        start = rows.stop


def bin_numbers(values: Tensor, low: Tensor, high: Tensor, num_bins: int) -> Tensor:
    """The bin of each value, int64, shape ``(n, values)``, for ``(n, ...)`` values and bounds ``(n,)``."""
    # float64 whatever the network's precision: in float32 values near an edge change their bin
    low, high = low.double(), high.double()
    centre, half_width = (low + high) / 2, (high - low) / 2 + HALF_WIDTH_MARGIN
    scaled = values.to(torch.float64, copy=True, memory_format=torch.contiguous_format).flatten(1)
    scaled.sub_(centre[:, None]).div_(half_width[:, None])
    # (z + 1) * B / 2, clamped once at the end: the same bin as clamping z first, for two passes less
    return scaled.add_(1).mul_(num_bins / 2).clamp_(0, num_bins - 1).to(torch.int64)


def check_num_bins(num_bins: int, least: int = 1) -> None:
    """ValueError unless it is an integer that is large enough, in the words of torchmetrics."""
    if not isinstance(num_bins, int) or isinstance(num_bins, bool) or num_bins < least:
        raise ValueError(f"Argument `num_bins` expected to be integer larger than {least - 1}, but got {num_bins!r}")


def check_finite(activations: Mapping[str, Tensor]) -> None:
    """ValueError naming the first layer that holds NaN or infinity."""
    filled = {layer: values for layer, values in activations.items() if values.numel()}
    if not filled:
        return
    # the extremes are finite exactly if all values are, at the price of one read and no copy
    extremes = torch.stack([torch.stack(torch.aminmax(values)).double() for values in filled.values()])
    # one question to the device, however many layers
    for layer, finite in zip(filled, extremes.isfinite().all(1).tolist(), strict=True):
        if not finite:
            raise ValueError(
                f"Layer {layer!r} gives activations that are NaN or infinite;"
                " check the images and the network (half precision overflows)"
            )


def _count_into(counts: Tensor, activations: Tensor, low: Tensor, high: Tensor) -> None:
    num_bins = counts.shape[1]
    for rows, values in chunks(activations):
        bins = bin_numbers(values, low[rows], high[rows], num_bins)
        bins += torch.arange(0, len(bins) * num_bins, num_bins, device=bins.device)[:, None]
        found = torch.bincount(bins.flatten(), minlength=len(bins) * num_bins)
        counts[rows] += found.view(-1, num_bins)
