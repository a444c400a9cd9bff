"""The distance of single images to a set (sections 5.1 and 5.4 of the paper)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torchmetrics_dna.binning.chunks import chunks
from torchmetrics_dna.binning.histogram import bin_numbers, check_finite
from torchmetrics_dna.functional.reduction import check_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

_CELLS = 1 << 20  # bins at a time: 8 MiB of float64


def dna_realism(
    activations: Tensor | Mapping[str, Tensor],
    reference_counts: Tensor,
    low: Tensor,
    high: Tensor,
    weights: Tensor | None = None,
) -> Tensor:
    r"""dna-emd between each image alone and a reference: the lower, the closer.

    What :func:`dna_emd` gives for the DNA of one image, without ever making it: histograms live for one chunk only.

    Args:
        activations: ``{layer: (B, n, *positions)}``, or of a single layer; floating point, finite.
        reference_counts: Shape ``(N, num_bins)``, layers one after another.
        low: Lower bounds, shape ``(N,)``, float64.
        high: Upper bounds, shape ``(N,)``, float64.
        weights: The :math:`W^n` of Eq. (5), shape ``(N,)``; by default the plain mean. Neurons of weight 0 cost
            nothing.

    Returns:
        float64, shape ``(B,)``, in bins.

    Raises:
        ValueError: If shapes do not fit, a value is not finite, or a neuron of the reference has no counts.

    Example:
        >>> images = torch.tensor([[[0.1, 0.2]], [[0.9, 0.8]]])  # two images, one neuron, two positions
        >>> dna_realism(images, torch.tensor([[8, 0, 0, 0]]), torch.tensor([0.0]), torch.tensor([1.0]))
        tensor([0., 3.], dtype=torch.float64)

    """
    layers = {"activations": activations} if isinstance(activations, Tensor) else activations
    neurons = len(reference_counts)
    given = sum(layer.shape[1] for layer in layers.values())
    if given != neurons or low.shape != (neurons,) or high.shape != (neurons,):
        raise ValueError(
            f"Expected activations and bounds of the {neurons} neurons that the reference has, but got"
            f" {[tuple(layer.shape) for layer in layers.values()]}, {tuple(low.shape)} and {tuple(high.shape)}"
        )
    check_finite(layers)
    where = reference_counts.device
    if weights is None:
        weights = torch.full((neurons,), 1 / neurons, dtype=torch.float64, device=where)
    weights = check_weights(weights, neurons).to(where)
    images = len(next(iter(layers.values())))
    distances = torch.zeros(images, neurons, dtype=torch.float64, device=where)
    start = 0
    for layer in layers.values():
        rows = slice(start, start + layer.shape[1])
        _fill(distances[:, rows], layer, reference_counts[rows], low[rows], high[rows], weights[rows])
        start = rows.stop
    if distances.isnan().any():
        raise ValueError("A neuron of the reference has no counts; make the reference from at least one image")
    # row by row over all neurons, so that a score does not depend on the batch, not even in its last bit
    return (distances * weights).sum(1)


def _fill(
    distances: Tensor, activations: Tensor, reference: Tensor, low: Tensor, high: Tensor, weights: Tensor
) -> None:
    """Write the distances of a layer's neurons, shape ``(B, n)``; those of weight 0 stay 0."""
    num_bins = reference.shape[1]
    used = weights.nonzero().flatten()
    if not len(used):
        return
    everything = len(used) == len(weights)
    if not everything:
        activations, reference, low, high = activations[:, used], reference[used], low[used], high[used]
    found = distances if everything else distances.new_empty(len(activations), len(used))
    first = 0
    for rows, values in chunks(activations, least=num_bins, size=_CELLS):
        images, positions = values.shape[1:]
        bins = bin_numbers(values, low[rows], high[rows], num_bins).view(-1, positions)
        share = reference[rows].double()
        share *= -positions / share.sum(1, keepdim=True)
        # the image's histogram on top of the reference's, negated and as large; all in place, since at this size
        # fetching memory costs more than the arithmetic
        difference = share[:, None].repeat(1, images, 1).view(-1, num_bins)
        difference.scatter_add_(1, bins, difference.new_ones(1, 1).expand_as(bins))
        emd = difference.cumsum_(1).abs_().sum(1).view(-1, images) / positions
        found[first : first + images, rows] = emd.T
        first = (first + images) % len(distances)
    if not everything:
        distances[:, used] = found
