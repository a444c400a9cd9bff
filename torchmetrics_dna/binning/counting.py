"""Count activations with the fastest available implementation."""

from __future__ import annotations

import os
from typing import NamedTuple

import torch
from torch import Tensor

from torchmetrics_dna.binning.activations import Activations
from torchmetrics_dna.binning.bins import Bins, bins_within, check_bounds
from torchmetrics_dna.binning.histogram import add_layer_ as count_by_torch_
from torchmetrics_dna.binning.histogram import check_num_bins

# Environment variable that chooses the Triton kernel.
TRITON = "TORCHMETRICS_DNA_TRITON"


def activation_histogram(activations: Tensor, low: Tensor, high: Tensor, num_bins: int) -> Tensor:
    r"""Compute the histogram of each neuron, Eq. (1) and (2) of the paper.

    Let :math:`m` be the centre of a neuron's bounds, and :math:`s` half their span plus 1e-8. The value :math:`x` is
    counted in bin :math:`\min(\lfloor (z + 1) B / 2 \rfloor, B - 1)` where
    :math:`z = \mathrm{clamp}((x - m) / s, -1, 1)`, computed in float64. Each position (pixel or token) of each image is
    one count. Values beyond the bounds are counted in the first or the last bin.

    Args:
        activations: Activations ``(B, n, *positions)``, floating point, finite.
        low: Lower bounds, shape ``(n,)``, float64.
        high: Upper bounds, shape ``(n,)``, float64.
        num_bins: Number of bins.

    Returns:
        Counts, int64, shape ``(n, num_bins)``.

    Raises:
        ValueError: If shapes do not match, ``num_bins`` is not an integer of 2 or more, a value or a bound is not
            finite, or bounds are swapped.

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
    check_bounds(low, high)
    counts = activations.new_zeros((activations.shape[1], num_bins), dtype=torch.int64)
    add_counts_(counts, Activations({"activations": activations}), bins_within(low, high, num_bins))
    return counts


class FoldCounts(NamedTuple):
    """Counts of disjoint folds of images. Their bins are as wide as the bins of all images, or wider.

    Attributes:
        counts: Counts of K folds, int64, ``(K, N, num_bins)``. The counts of one fold are contiguous.
        bins: Bins of the folds. Each is a union of bins of all images. Centre and offset are the same.
        keys: Fold of each image of a batch, int64, ``(B,)``, on the CPU.

    """

    counts: Tensor
    bins: Bins
    keys: Tensor


def add_counts_(counts: Tensor, activations: Activations, bins: Bins, folds: FoldCounts | None = None) -> None:
    """Count a batch in place: add the histograms of all images to ``counts``, and those of each fold to its counts.

    Args:
        counts: Counts, int64, ``(N, num_bins)``, contiguous, layers concatenated.
        activations: Activations of a batch. On a device, values that are not finite are counted in any bin.
        bins: Bins of the neurons.
        folds: Counts of the folds; None without folds.

    Raises:
        ValueError: If a value on the CPU is not finite. No count has changed then.

    """
    compiled = activations.compiled_for(bins.num_bins)
    if compiled and compiled.counts_faster(activations):
        compiled.add_counts_(counts, activations, bins, folds)
        return
    activations.check(wait=False)
    for columns, layer in activations.placed():
        add_layer_(counts[columns], layer, bins.take(columns))
    if folds is not None:
        for fold in folds.keys.unique().tolist():  # type: ignore[no-untyped-call]
            images_of_fold = activations.take(folds.keys == fold)
            add_counts_(folds.counts[fold], images_of_fold, folds.bins)


def add_layer_(counts: Tensor, layer: Tensor, bins: Bins) -> None:
    """Add the histograms of a layer, ``(B, n, *positions)``, to its counts in place. NaN is counted in any bin.

    The layer is counted by torch. On CUDA, a Triton kernel counts it if the environment variable
    ``TORCHMETRICS_DNA_TRITON`` is 1.
    """
    if counts.is_cuda and os.environ.get(TRITON) == "1":
        # Triton is an optional dependency, and its import takes a second.
        from torchmetrics_dna.binning import cuda

        cuda.add_layer_(counts, layer, bins)
    else:
        count_by_torch_(counts, layer, bins)


def is_captured() -> bool:
    """Return True while a CUDA graph is captured. The host can't wait for the device then."""
    started: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return started and torch.cuda.is_current_stream_capturing()
