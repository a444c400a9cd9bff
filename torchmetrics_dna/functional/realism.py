"""Distance of single images to a set (sections 5.1 and 5.4 of the paper), and its contrast between two sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torchmetrics_dna.binning.bins import Bins, bins_within, check_bounds
from torchmetrics_dna.binning.histogram import check_finite, finite_layers
from torchmetrics_dna.binning.layouts import chunks, placed, sent
from torchmetrics_dna.extras import optional
from torchmetrics_dna.functional.emd import cumulative_share
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
    contrast_counts: Tensor | None = None,
) -> Tensor:
    r"""Compute the dna-emd between each single image and a reference: the lower, the closer.

    It equals :func:`dna_emd` of the DNA of one image, but histograms exist for one chunk at a time only. With
    ``contrast_counts`` of the pool that the images come from, the distance to the pool is subtracted: the result is
    negative for an image that is more like the reference than like the pool.

    Args:
        activations: ``{layer: (B, n, *positions)}``, or those of a single layer; floating point, finite.
        reference_counts: Counts of the reference, shape ``(N, num_bins)``, layers concatenated.
        low: Lower bounds, shape ``(N,)``, float64.
        high: Upper bounds, shape ``(N,)``, float64.
        weights: The :math:`W^n` of Eq. (5), shape ``(N,)``; by default the plain mean. Neurons of weight 0 are
            skipped.
        contrast_counts: Counts of the pool, shape ``(N, num_bins)``; None for the plain distance.

    Returns:
        Distances, float64, shape ``(B,)``, in bins.

    Raises:
        ValueError: If shapes do not match, a value is not finite, or a neuron of a set has no counts.

    Example:
        >>> images = torch.tensor([[[0.1, 0.2]], [[0.9, 0.8]]])  # two images, one neuron, two positions
        >>> bounds = torch.tensor([0.0]), torch.tensor([1.0])
        >>> dna_realism(images, torch.tensor([[8, 0, 0, 0]]), *bounds)
        tensor([0., 3.], dtype=torch.float64)
        >>> dna_realism(images, torch.tensor([[8, 0, 0, 0]]), *bounds, contrast_counts=torch.tensor([[0, 0, 0, 5]]))
        tensor([-3.,  3.], dtype=torch.float64)

    """
    layers = {"activations": activations} if isinstance(activations, Tensor) else activations
    references, bins = check_references(reference_counts, low, high, contrast_counts)
    scores = realism_of_parts([layers], references, bins, weights)
    return scores[0] if len(scores) == 1 else scores[0] - scores[1]


def check_references(
    reference_counts: Tensor, low: Tensor, high: Tensor, contrast_counts: Tensor | None
) -> tuple[Tensor, Bins]:
    """Return the counts of one or two references, ``(S, N, num_bins)``, and their bins; ValueError if shapes differ."""
    neurons, num_bins = reference_counts.shape
    if low.shape != (neurons,) or high.shape != (neurons,):
        raise ValueError(
            f"Expected bounds of the {neurons} neurons that the reference has, but got {tuple(low.shape)} and"
            f" {tuple(high.shape)}"
        )
    check_bounds(low, high)
    bins = bins_within(low, high, num_bins)
    if contrast_counts is None:
        return reference_counts[None], bins
    if contrast_counts.shape != reference_counts.shape:
        raise ValueError(
            f"Argument `contrast_counts` expected to have the shape {tuple(reference_counts.shape)} of"
            f" `reference_counts`, but got {tuple(contrast_counts.shape)}"
        )
    return torch.stack([reference_counts, contrast_counts.to(reference_counts)]), bins


def realism_of_parts(
    parts: Parts,
    references: Tensor,
    bins: Bins,
    weights: Tensor | None = None,
    wait: bool = True,
) -> Tensor:
    """Compute :func:`dna_realism` to several references at once, for activations in parts, ``(S, B)``.

    Args:
        parts: Activations.
        references: Counts, shape ``(S, N, num_bins)``.
        bins: Bins of all neurons.
        weights: As for :func:`dna_realism`.
        wait: Whether to check for errors, which is a device sync. If not, on a device, all scores are NaN instead.

    """
    neurons = references.shape[1]
    if sum(layer.shape[1] for layer in parts[0].values()) != neurons:
        raise ValueError(
            f"Expected activations of the {neurons} neurons that the reference has, but got"
            f" {[tuple(layer.shape) for layer in parts[0].values()]}"
        )
    device = references.device
    weights = weights_or_mean(weights, neurons).cpu()
    images = sum(len(next(iter(part.values()))) for part in parts)
    distances = torch.zeros(len(references), images, neurons, dtype=torch.float64, device=device)
    fast = optional("binning.cpu") if device.type == "cpu" else None
    wait = wait or device.type == "cpu"
    if fast and fast.covers(parts, bins.num_bins):
        fast.fill_distances_(distances, parts, references, bins, weights)
    else:
        if wait:
            check_finite(parts)
        fill_distances_(distances, parts, references, bins, weights)
    scores = _scores(distances, sent(weights, device), wait)
    return scores if wait else torch.where(finite_layers(parts).all(), scores, torch.nan)


def weights_or_mean(weights: Tensor | None, neurons: int) -> Tensor:
    """Check weights; return ``1/N`` each for None."""
    if weights is None:
        weights = torch.full((neurons,), 1 / neurons, dtype=torch.float64)
    return check_weights(weights, neurons)


def _scores(distances: Tensor, weights: Tensor, wait: bool) -> Tensor:
    if wait and distances.isnan().any():
        raise ValueError("A neuron of the reference has no counts; make the reference from at least one image")
    # each row is summed separately, so that a score is bitwise independent of the batch
    return sum_over_neurons(distances * weights)


def fill_distances_(distances: Tensor, parts: Parts, references: Tensor, bins: Bins, weights: Tensor) -> None:
    """Write the Earth Mover's Distance of each image to references, for neurons whose weight is not 0.

    ``distances``, shape ``(S, B, N)``, float64, are 0 at first; ``weights`` are on the CPU; the rest is as in
    :func:`realism_of_parts`.
    """
    image = 0
    for part in parts:
        for columns, layer in placed([part]):
            images = slice(image, image + len(layer))
            used = weights[columns].nonzero().flatten()
            if len(used):
                chosen: slice | Tensor = columns
                values = layer
                if len(used) < layer.shape[1]:
                    index = sent(used, layer.device)
                    values, chosen = layer[:, index], index + columns.start
                distances[:, images, chosen] = _layer_distances(values, references[:, chosen], bins.take(chosen))
        image = images.stop


def _layer_distances(activations: Tensor, references: Tensor, bins: Bins) -> Tensor:
    """Compute the distances of neurons of a layer, shape ``(S, B, n)``."""
    distances = activations.new_empty(len(references), *activations.shape[:2], dtype=torch.float64)
    first = 0
    for rows, values in chunks(activations, least=bins.num_bins, size=_CELLS):
        images, positions = values.shape[1:]
        numbers = bins.take(rows).numbers(values).view(-1, images, positions)
        if numbers.device.type != "cpu":
            numbers.clamp_(0, bins.num_bins - 1)  # NaN converts to any integer
        chunk = slice(first, first + images)
        distances[:, chunk, rows] = _distances_to(histograms_of(numbers, bins.num_bins), references[:, rows], positions)
        first = (first + images) % len(activations)
    return distances


def _distances_to(histograms: Tensor, references: Tensor, positions: int) -> Tensor:
    """Compute distances ``(S, images, n)`` of histograms ``(n, images, num_bins)`` to ``(S, n, num_bins)``."""
    shares = histograms.cumsum(2).double() / positions
    return torch.stack([(shares - cumulative_share(counts)[:, None]).abs_().sum(2).T for counts in references])


def histograms_of(numbers: Tensor, num_bins: int) -> Tensor:
    """Count bins ``(n, images, positions)`` to ``(n, images, num_bins)``, int64."""
    counts = numbers.new_zeros(*numbers.shape[:2], num_bins)
    return counts.scatter_add_(2, numbers, numbers.new_ones(1, 1, 1).expand_as(numbers))
