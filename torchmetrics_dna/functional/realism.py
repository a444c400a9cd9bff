"""The distance of single images to a set (sections 5.1 and 5.4 of the paper)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torchmetrics_dna.binning.bins import Bins, bins_within
from torchmetrics_dna.binning.histogram import check_finite
from torchmetrics_dna.binning.layouts import chunks, placed
from torchmetrics_dna.extras import optional
from torchmetrics_dna.functional.reduction import check_weights, sum_over_neurons

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torchmetrics_dna.binning.layouts import Parts

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
    return realism_of_parts([layers], reference_counts, low, high, weights)


def realism_of_parts(
    parts: Parts, reference_counts: Tensor, low: Tensor, high: Tensor, weights: Tensor | None = None
) -> Tensor:
    """As :func:`dna_realism`, for activations of some images after others, each ``{layer: (b, n, *positions)}``."""
    neurons = len(reference_counts)
    given = sum(layer.shape[1] for layer in parts[0].values())
    if given != neurons or low.shape != (neurons,) or high.shape != (neurons,):
        raise ValueError(
            f"Expected activations and bounds of the {neurons} neurons that the reference has, but got"
            f" {[tuple(layer.shape) for layer in parts[0].values()]}, {tuple(low.shape)} and {tuple(high.shape)}"
        )
    where = reference_counts.device
    if weights is None:
        weights = torch.full((neurons,), 1 / neurons, dtype=torch.float64, device=where)
    weights = check_weights(weights, neurons).to(where)
    bins = bins_within(low, high, reference_counts.shape[1])
    images = sum(len(next(iter(part.values()))) for part in parts)
    distances = torch.zeros(images, neurons, dtype=torch.float64, device=where)
    fast = optional("functional.cpu") if where.type == "cpu" else None
    fill = fast.fill_distances_ if fast and fast.covers(parts, bins.num_bins) else fill_distances_
    fill(distances, parts, reference_counts, bins, weights)
    if distances.isnan().any():
        raise ValueError("A neuron of the reference has no counts; make the reference from at least one image")
    # row by row over all neurons, so that a score does not depend on the batch, not even in its last bit
    return sum_over_neurons(distances * weights)


def fill_distances_(distances: Tensor, parts: Parts, reference: Tensor, bins: Bins, weights: Tensor) -> None:
    """Write the Earth Mover's Distance of each image to a reference, for neurons whose weight is not 0.

    Args:
        distances: Shape ``(B, N)``, float64, zeros.
        parts: Activations of some images after others, each ``{layer: (b, n, *positions)}``.
        reference: Counts, shape ``(N, num_bins)``.
        bins: Of all neurons.
        weights: Shape ``(N,)``.

    Raises:
        ValueError: If a value is not finite.

    """
    check_finite(parts)
    image = 0
    for part in parts:
        for here, layer in placed([part]):
            rows = slice(image, image + len(layer))
            used = weights[here].nonzero().flatten()
            if len(used):
                chosen = used + here.start
                values = layer if len(used) == layer.shape[1] else layer[:, used]
                distances[rows, chosen] = _layer_distances(values, reference[chosen], bins.take(chosen))
        image = rows.stop


def _layer_distances(activations: Tensor, reference: Tensor, bins: Bins) -> Tensor:
    """Distances of some neurons of one layer, shape ``(B, n)``."""
    num_bins = bins.num_bins
    found = activations.new_empty(activations.shape[:2], dtype=torch.float64)
    first = 0
    for rows, values in chunks(activations, least=num_bins, size=_CELLS):
        images, positions = values.shape[1:]
        numbers = bins.take(rows).numbers(values).view(-1, positions)
        share = reference[rows].double()
        share *= -positions / share.sum(1, keepdim=True)
        # the image's histogram on top of the reference's, negated and as large; all in place, since at this size
        # fetching memory costs more than the arithmetic
        difference = share[:, None].repeat(1, images, 1).view(-1, num_bins)
        difference.scatter_add_(1, numbers, difference.new_ones(1, 1).expand_as(numbers))
        emd = difference.cumsum_(1).abs_().sum(1).view(-1, images) / positions
        found[first : first + images, rows] = emd.T
        first = (first + images) % len(activations)
    return found
