"""Maps of dna-emd: the share of the score of one image that each position of a layer pays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torchmetrics_dna.binning.histogram import check_finite
from torchmetrics_dna.binning.layouts import placed
from torchmetrics_dna.functional.realism import check_references, histograms_of, weights_or_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torchmetrics_dna.binning.bins import Bins

_CELLS = 1 << 18  # bins at a time: 2 MiB of float64


def dna_realism_map(
    activations: Tensor | Mapping[str, Tensor],
    reference_counts: Tensor,
    low: Tensor,
    high: Tensor,
    weights: Tensor | None = None,
    contrast_counts: Tensor | None = None,
) -> dict[str, Tensor]:
    r"""Compute maps whose means over positions add up to :func:`dna_realism`.

    The dna-emd of a neuron moves the sorted activations of the image to the quantiles of the reference. A position pays
    what moving its own activation costs; activations in one bin share their quantiles, and pay alike. A neuron of an
    image with P positions thus has

    .. math::
        c_p = \frac{P}{h_k} \int_{F[k-1]}^{F[k]} |Q_{ref}(u) - k| \, du, \qquad k = bin(p),

    with the cumulative shares F of the image, its number of activations :math:`h_k` in a bin, and the quantiles Q of
    the reference, in bins.

    Args:
        activations: ``{layer: (B, n, *positions)}``, or those of a single layer; floating point, finite.
        reference_counts: Counts of the reference, shape ``(N, num_bins)``, layers concatenated.
        low: Lower bounds, shape ``(N,)``, float64.
        high: Upper bounds, shape ``(N,)``, float64.
        weights: The :math:`W^n` of Eq. (5), shape ``(N,)``; by default the plain mean.
        contrast_counts: Counts of the pool, shape ``(N, num_bins)``, whose map is subtracted; None for the distance.

    Returns:
        For each layer ``(B, *positions)``, float64, in bins. A single layer is called ``"activations"``.

    Raises:
        ValueError: If shapes do not match, a value is not finite, or a neuron of a set has no counts.

    Example:
        >>> image = torch.tensor([[[0.1, 0.9]]])  # one neuron, two positions
        >>> bounds = torch.tensor([0.0]), torch.tensor([1.0])
        >>> dna_realism_map(image, torch.tensor([[8, 0, 0, 0]]), *bounds)["activations"]
        tensor([[0., 3.]], dtype=torch.float64)

    """
    layers = {"activations": activations} if isinstance(activations, Tensor) else activations
    references, bins = check_references(reference_counts, low, high, contrast_counts)
    maps = realism_maps(layers, references, bins, weights)
    return {layer: both[0] - both[1] if len(both) == 2 else both[0] for layer, both in maps.items()}


def realism_maps(
    layers: Mapping[str, Tensor], references: Tensor, bins: Bins, weights: Tensor | None = None
) -> dict[str, Tensor]:
    """Compute :func:`dna_realism_map` to S references, ``(S, N, num_bins)``; ``(S, B, *positions)`` for each layer."""
    check_finite([layers])
    if not references.sum(2).all():
        raise ValueError("A neuron of the reference has no counts; make the reference from at least one image")
    weights = weights_or_mean(weights, references.shape[1]).to(references.device)
    quantiles = [_Quantiles(counts) for counts in references]
    step = max(1, _CELLS // bins.num_bins)
    maps = {}
    for layer, (columns, values) in zip(layers, placed([layers]), strict=True):
        total = values.new_zeros(len(references), *values.shape[:1], *values.shape[2:], dtype=torch.float64)
        for image in range(len(values)):
            flat = values[image].flatten(1) if values.ndim > 2 else values[image][:, None]
            for first in range(columns.start, columns.stop, step):
                rows = slice(first, min(first + step, columns.stop))
                numbers = bins.take(rows).numbers(flat[rows.start - columns.start : rows.stop - columns.start])
                for side, quantile in enumerate(quantiles):
                    costs = quantile.costs(numbers, rows)
                    total[side, image] += (weights[rows] @ costs).view(values.shape[2:])
        maps[layer] = total
    return maps


class _Quantiles:
    """Quantile functions of a reference with counts ``(N, num_bins)``, and their integrals."""

    def __init__(self, counts: Tensor) -> None:
        shares = counts.double() / counts.sum(1, keepdim=True)
        self._cumulative = counts.cumsum(1).double() / counts.sum(1, keepdim=True)
        self._bins = torch.arange(counts.shape[1], dtype=torch.float64, device=counts.device)
        self._integral = (shares * self._bins).cumsum(1)

    def costs(self, numbers: Tensor, rows: slice) -> Tensor:
        """Return what each position pays, ``(n, positions)``, for bins ``(n, positions)`` of neurons ``rows``."""
        cumulative, integral, k = self._cumulative[rows], self._integral[rows], self._bins
        counts = histograms_of(numbers[:, None], len(k))[:, 0]
        ends = counts.cumsum(1).double() / numbers.shape[1]
        # integral of the quantile function up to the end of each bin of the image: linear between the reference's steps
        place = torch.searchsorted(cumulative, ends).clamp(max=len(k) - 1)
        up_to_end = integral.gather(1, place) - place * (cumulative.gather(1, place) - ends)
        begins, up_to_begin = (
            torch.cat([values.new_zeros(len(values), 1), values[:, :-1]], 1) for values in (ends, up_to_end)
        )
        # quantiles are at most k up to the reference's own share in bins 0 to k, and above it afterwards
        middle = torch.minimum(torch.maximum(cumulative, begins), ends)
        up_to_middle = torch.where(middle <= begins, up_to_begin, torch.where(middle >= ends, up_to_end, integral))
        below = k * (middle - begins) - (up_to_middle - up_to_begin)
        above = up_to_end - up_to_middle - k * (ends - middle)
        costs = (below + above) * numbers.shape[1] / counts.clamp(min=1)
        return costs.gather(1, numbers)
