"""Count activations by the fastest available implementation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from torchmetrics_dna.binning.bins import Bins, bins_within, check_bounds
from torchmetrics_dna.binning.histogram import add_layer_ as count_by_torch_
from torchmetrics_dna.binning.histogram import check_finite, check_num_bins
from torchmetrics_dna.binning.layouts import placed
from torchmetrics_dna.extras import give_up, optional

if TYPE_CHECKING:
    from torch import Tensor

    from torchmetrics_dna.binning.layouts import Parts

_MOST_BINS = 1 << 24  # so that cells of a tile fit 32 bits
_DTYPES = {torch.float32, torch.float64, torch.float16, torch.bfloat16}


def activation_histogram(activations: Tensor, low: Tensor, high: Tensor, num_bins: int) -> Tensor:
    r"""Compute the histogram of each neuron, Eq. (1) and (2) of the paper.

    With centre :math:`m` and half width :math:`s` (half the span plus 1e-8) of a neuron's bounds, value
    :math:`x` falls in bin :math:`\min(\lfloor (z + 1) B / 2 \rfloor, B - 1)` where
    :math:`z = \mathrm{clamp}((x - m) / s, -1, 1)`, all in float64. Every position (pixel, token) of every
    image is one count; values beyond the bounds count in the end bins.

    Args:
        activations: Activations ``(B, n, *positions)``, floating point, finite.
        low: Lower bounds, shape ``(n,)``, float64.
        high: Upper bounds, shape ``(n,)``, float64.
        num_bins: Number of bins.

    Returns:
        Counts, int64, shape ``(n, num_bins)``.

    Raises:
        ValueError: If shapes do not match, ``num_bins`` is not an integer of 2 or more, or a value or bound is not
            finite or bounds are swapped.

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
    add_counts_(counts, [{"activations": activations}], bins_within(low, high, num_bins))
    return counts


def add_counts_(counts: Tensor, parts: Parts, bins: Bins, accepted: Tensor | None = None) -> None:
    """Add the histograms of all layers to ``counts`` in place; activations that are not finite change nothing.

    Args:
        counts: Counts, shape ``(N, num_bins)``, int64, contiguous, layers concatenated.
        parts: Activations.
        bins: Bins of all neurons.
        accepted: 1 if the activations are finite, else 0, an int64 tensor on their device; avoids a device sync.

    Raises:
        ValueError: If a value is not finite, unless ``accepted`` is given.

    """
    if accepted is None:
        if compiled := compiled_for(parts, bins.num_bins):
            zeros = torch.zeros(sum(max(map(len, part.values()), default=0) for part in parts), dtype=torch.int64)
            compiled.add_counts_by_key_(counts[None], parts, bins, zeros, zeros)
            return
        check_finite(parts)
    for columns, layer in placed(parts):
        arguments = counts[columns], layer, bins.take(columns), accepted
        if not (counts.is_cuda and _counted_by_triton(*arguments)):
            count_by_torch_(*arguments)


def compiled_for(parts: Parts, num_bins: int = 1) -> Any:
    """Return the functions that numba compiles for the CPU if they support these activations and bins, else None."""
    is_covered = num_bins <= _MOST_BINS and all(
        layer.device.type == "cpu" and layer.dtype in _DTYPES for _, layer in placed(parts)
    )
    return optional("binning.cpu") if is_covered else None


def _counted_by_triton(counts: Tensor, layer: Tensor, bins: Bins, accepted: Tensor | None) -> bool:
    """Count a layer on CUDA; False if Triton is missing or fails, with one warning and unchanged counts."""
    triton_kernels = optional("binning.cuda")
    if triton_kernels is None:
        return False
    try:
        triton_kernels.add_layer_(counts, layer, bins, accepted)
    except torch.OutOfMemoryError:
        raise
    except Exception as err:  # the compiler can fail for many reasons: no C compiler, no cache folder, an old GPU
        give_up("triton", err)
        return False
    return True
