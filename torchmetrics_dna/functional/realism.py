"""The distance of single images to sets (sections 5.1 and 5.4 of the paper), and its contrast to two of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torchmetrics_dna.binning.bins import Bins, bins_within
from torchmetrics_dna.binning.histogram import check_finite, finite_layers
from torchmetrics_dna.binning.layouts import chunks, placed, sent
from torchmetrics_dna.binning.single_rows import histograms_of, row_of_bins
from torchmetrics_dna.extras import optional
from torchmetrics_dna.functional.reduction import check_weights, sum_over_neurons

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torchmetrics_dna.binning.layouts import Parts
    from torchmetrics_dna.binning.single_rows import SingleRows

    Kept = tuple[SingleRows, Tensor]  # how rows are laid out, and the rows of the images, which are to be filled

_CELLS = 1 << 20  # bins at a time: 8 MiB of float64


def dna_realism(
    activations: Tensor | Mapping[str, Tensor],
    reference_counts: Tensor,
    low: Tensor,
    high: Tensor,
    weights: Tensor | None = None,
    contrast_counts: Tensor | None = None,
) -> Tensor:
    r"""dna-emd between each image alone and a reference: the lower, the closer.

    What :func:`dna_emd` gives for the DNA of one image, without ever making it: histograms live for one chunk only.
    With ``contrast_counts`` of the pool that the images come from, what it gives for the reference less what it gives
    for the pool: below 0 for an image that is more like the reference than like the pool.

    Args:
        activations: ``{layer: (B, n, *positions)}``, or of a single layer; floating point, finite.
        reference_counts: Shape ``(N, num_bins)``, layers one after another.
        low: Lower bounds, shape ``(N,)``, float64.
        high: Upper bounds, shape ``(N,)``, float64.
        weights: The :math:`W^n` of Eq. (5), shape ``(N,)``; by default the plain mean. Neurons of weight 0 cost
            nothing.
        contrast_counts: As ``reference_counts``, of the pool; None for the plain distance.

    Returns:
        float64, shape ``(B,)``, in bins.

    Raises:
        ValueError: If shapes do not fit, a value is not finite, or a neuron of a set has no counts.

    Example:
        >>> images = torch.tensor([[[0.1, 0.2]], [[0.9, 0.8]]])  # two images, one neuron, two positions
        >>> bounds = torch.tensor([0.0]), torch.tensor([1.0])
        >>> dna_realism(images, torch.tensor([[8, 0, 0, 0]]), *bounds)
        tensor([0., 3.], dtype=torch.float64)
        >>> dna_realism(images, torch.tensor([[8, 0, 0, 0]]), *bounds, contrast_counts=torch.tensor([[0, 0, 0, 5]]))
        tensor([-3.,  3.], dtype=torch.float64)

    """
    layers = {"activations": activations} if isinstance(activations, Tensor) else activations
    neurons, num_bins = reference_counts.shape
    if low.shape != (neurons,) or high.shape != (neurons,):
        raise ValueError(
            f"Expected bounds of the {neurons} neurons that the reference has, but got {tuple(low.shape)} and"
            f" {tuple(high.shape)}"
        )
    bins = bins_within(low, high, num_bins)
    if contrast_counts is None:
        return realism_of_parts([layers], reference_counts[None], bins, weights)[0]
    if contrast_counts.shape != reference_counts.shape:
        raise ValueError(
            f"Argument `contrast_counts` expected to have the shape {tuple(reference_counts.shape)} of"
            f" `reference_counts`, but got {tuple(contrast_counts.shape)}"
        )
    both = torch.stack([reference_counts, contrast_counts.to(reference_counts)])
    scores = realism_of_parts([layers], both, bins, weights)
    return scores[0] - scores[1]


def realism_of_parts(
    parts: Parts,
    references: Tensor,
    bins: Bins,
    weights: Tensor | None = None,
    kept: Kept | None = None,
    wait: bool = True,
) -> Tensor:
    """As :func:`dna_realism`, to several references at once, for activations of some images after others.

    Args:
        parts: Each ``{layer: (b, n, *positions)}``.
        references: Counts, shape ``(S, N, num_bins)``.
        bins: Of all neurons.
        weights: As there.
        kept: Where to keep the histograms of the images, too.
        wait: Whether the host waits for errors. If not, all scores are NaN where there would be one, but on the CPU.

    Returns:
        float64, shape ``(S, B)``, in bins.

    """
    neurons = references.shape[1]
    if sum(layer.shape[1] for layer in parts[0].values()) != neurons:
        raise ValueError(
            f"Expected activations of the {neurons} neurons that the reference has, but got"
            f" {[tuple(layer.shape) for layer in parts[0].values()]}"
        )
    where = references.device
    weights = weights_or_mean(weights, neurons).cpu()
    images = sum(len(next(iter(part.values()))) for part in parts)
    distances = torch.zeros(len(references), images, neurons, dtype=torch.float64, device=where)
    fast = optional("functional.cpu") if where.type == "cpu" else None
    fill = fast.fill_distances_ if fast and fast.covers(parts, bins.num_bins) else fill_distances_
    wait = wait or where.type == "cpu"
    if wait and fill is fill_distances_:
        check_finite(parts)
    fill(distances, parts, references, bins, weights, kept)
    scores = _scores(distances, sent(weights, where), wait)
    return scores if wait else torch.where(finite_layers(parts).all(), scores, torch.nan)


def realism_of_rows(rows: Tensor, layout: SingleRows, references: Tensor, weights: Tensor | None = None) -> Tensor:
    """As :func:`realism_of_parts`, for histograms that it has kept, of shape ``(B, L)``."""
    neurons = references.shape[1]
    weights = weights_or_mean(weights, neurons).to(references.device)
    distances = torch.zeros(len(references), len(rows), neurons, dtype=torch.float64, device=references.device)
    fast = optional("functional.cpu") if references.device.type == "cpu" else None
    if fast:
        fast.fill_from_rows_(distances, rows, layout, references)
    else:
        for chosen, positions, found in layout.histograms(rows):
            distances[:, :, chosen] = _apart(found, references[:, chosen], positions)
    return _scores(distances, weights, wait=True)


def weights_or_mean(weights: Tensor | None, neurons: int) -> Tensor:
    """The weights, checked; ``1/N`` each where none are given."""
    if weights is None:
        weights = torch.full((neurons,), 1 / neurons, dtype=torch.float64)
    return check_weights(weights, neurons)


def _scores(distances: Tensor, weights: Tensor, wait: bool) -> Tensor:
    if wait and distances.isnan().any():
        raise ValueError("A neuron of the reference has no counts; make the reference from at least one image")
    # row by row over all neurons, so that a score does not depend on the batch, not even in its last bit
    return sum_over_neurons(distances * weights)


def fill_distances_(
    distances: Tensor, parts: Parts, references: Tensor, bins: Bins, weights: Tensor, kept: Kept | None = None
) -> None:
    """Write the Earth Mover's Distance of each image to references, for neurons whose weight is not 0.

    Args:
        distances: Shape ``(S, B, N)``, float64, zeros.
        parts: Activations of some images after others, each ``{layer: (b, n, *positions)}``.
        references: Counts, shape ``(S, N, num_bins)``.
        bins: Of all neurons.
        weights: Shape ``(N,)``, on the CPU.
        kept: Where to keep the histograms, too.

    """
    image = 0
    for part in parts:
        for here, layer in placed([part]):
            images = slice(image, image + len(layer))
            used = weights[here].nonzero().flatten()
            if len(used):
                chosen: slice | Tensor = here
                values = layer
                if len(used) < layer.shape[1]:
                    there = sent(used, layer.device)
                    values, chosen = layer[:, there], there + here.start
                given = references[:, chosen], bins.take(chosen)
                distances[:, images, chosen] = _layer_distances(values, *given, used + here.start, images, kept)
        image = images.stop


def _layer_distances(
    activations: Tensor, references: Tensor, bins: Bins, neurons: Tensor, image: slice, kept: Kept | None
) -> Tensor:
    """Distances of some neurons of one layer, shape ``(S, B, n)``, whose histograms go to these images of ``kept``."""
    found = activations.new_empty(len(references), *activations.shape[:2], dtype=torch.float64)
    first = 0
    for rows, values in chunks(activations, least=bins.num_bins, size=_CELLS):
        images, positions = values.shape[1:]
        numbers = bins.take(rows).numbers(values).view(-1, images, positions)
        if numbers.device.type != "cpu":
            numbers.clamp_(0, bins.num_bins - 1)  # NaN may have become any
        some = slice(first, first + images)
        found[:, some, rows] = _apart(histograms_of(numbers, bins.num_bins), references[:, rows], positions)
        if kept is not None:
            layout, into = kept
            row = row_of_bins(numbers, bins.num_bins).transpose(0, 1).flatten(1)
            into[image][some, layout.place(neurons[rows])] = row.to(into.dtype)
        first = (first + images) % len(activations)
    return found


def _apart(histograms: Tensor, references: Tensor, positions: int) -> Tensor:
    """Distances ``(S, images, n)`` of histograms ``(n, images, num_bins)`` to references ``(S, n, num_bins)``."""
    sums = histograms.cumsum(2).double()
    found = []
    for counts in references:
        known = counts.cumsum(1).double()
        expected = known * (positions / known[:, -1:])  # as if of as many activations as an image
        found.append((sums - expected[:, None]).abs_().sum(2).T / positions)
    return torch.stack(found)
