"""Distance of single images to a set (sections 5.1 and 5.4 of the paper), its contrast to another set, and its maps."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import torch
from torch import Tensor

from torchmetrics_dna.binning.activations import Activations, sent
from torchmetrics_dna.binning.bins import Bins, bins_within, check_bounds
from torchmetrics_dna.binning.counting import add_layer_
from torchmetrics_dna.functional.emd import emd_of_rows
from torchmetrics_dna.functional.reduction import blocks, check_weights, sum_over_neurons
from torchmetrics_dna.images.cells import cells_of

# Number of cells of a heat map in each direction.
SIDE = 56
# Largest number of bins that are processed at the same time: 2 MiB of float64.
_CELLS = 1 << 18
_NO_COUNTS = "A neuron of the reference has no counts; make the reference from at least one image"


def dna_realism(
    activations: Tensor | Mapping[str, Tensor],
    reference_counts: Tensor,
    low: Tensor,
    high: Tensor,
    weights: Tensor | None = None,
    contrast_counts: Tensor | None = None,
) -> Tensor:
    r"""Compute the dna-emd between each single image and a reference. Lower values are closer.

    The result equals :func:`dna_emd` for the histogram of each image, but needs less memory.

    ``contrast_counts`` are the counts of the pool from which the images come. If they are passed, the distance to the
    pool is subtracted. The result is then negative for an image that is closer to the reference than to the pool.

    Args:
        activations: Finite floating point activations, ``{layer: (B, n, *positions)}``, or the tensor of a single
            layer.
        reference_counts: Counts of the reference, shape ``(N, num_bins)``, layers concatenated.
        low: Lower bounds, shape ``(N,)``, float64.
        high: Upper bounds, shape ``(N,)``, float64.
        weights: Weights :math:`W^n` of Eq. (5), shape ``(N,)``; by default, all weights are :math:`1/N`. Neurons with
            the weight 0 are skipped.
        contrast_counts: Counts of the pool, shape ``(N, num_bins)``, or None to return the distance to the reference.

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
    references, bins = _check_references(reference_counts, low, high, contrast_counts)
    return less_contrast(realism_of(Activations(layers), references, bins, weights))


def less_contrast(values: Tensor) -> Tensor:
    """Return the values for the first reference, minus those for the second reference if there are two.

    Args:
        values: Values for one or two references, ``(S, ...)``.

    """
    if len(values) == 1:
        return values[0]
    return values[0] - values[1]


def realism_of(
    activations: Activations, references: Tensor, bins: Bins, weights: Tensor | None, wait: bool = True
) -> Tensor:
    """Compute :func:`dna_realism` for several references at once.

    Args:
        activations: Activations of images.
        references: Counts of the references, ``(S, N, num_bins)``.
        bins: Bins of the counts.
        weights: Weights of Eq. (5), ``(N,)``, or None for equal weights.
        wait: Whether errors may be raised for activations that are not finite, which needs a device sync. If False, all
            scores on an accelerator are NaN instead.

    Returns:
        Distances, float64, ``(S, B)``.

    """
    neurons = references.shape[1]
    device = references.device
    _check_neurons(activations.parts[0], neurons)
    host_weights = check_weights(weights, neurons).cpu()
    distances = torch.zeros(len(references), len(activations), neurons, dtype=torch.float64, device=device)
    # On a CPU, checking values needs no sync.
    can_raise = wait or device.type == "cpu"
    compiled = activations.compiled_for(bins.num_bins)
    if compiled:
        compiled.fill_distances_(distances, activations, references, bins, host_weights)
    else:
        activations.check(can_raise)
        _fill_distances_(distances, activations, references, bins)
    device_weights = sent(host_weights, device)
    distances.masked_fill_(device_weights == 0, 0)
    if can_raise and distances.isnan().any():
        raise ValueError(_NO_COUNTS)
    # Each row is summed separately, so that a score does not depend on the batch, not even by rounding.
    scores = sum_over_neurons(distances * device_weights)
    if can_raise:
        return scores
    return torch.where(activations.finite.all(), scores, torch.nan)


def _fill_distances_(distances: Tensor, activations: Activations, references: Tensor, bins: Bins) -> None:
    """Compute the dna-emd between each image and each reference, and write it to ``distances``, ``(S, B, N)``."""
    first_of_part = 0
    for part in activations.parts:
        for columns, layer in Activations(part).placed():
            for number in range(len(layer)):
                # The slice keeps the axis of the batch.
                counts = _counts_of_image(layer[number : number + 1], bins.take(columns))
                for reference in range(len(references)):
                    emd = emd_of_rows(counts, references[reference, columns])
                    distances[reference, first_of_part + number, columns] = emd
        first_of_part += len(next(iter(part.values())))


def _counts_of_image(layer: Tensor, bins: Bins) -> Tensor:
    """Return the histogram of each neuron for one image, ``(n, num_bins)``, from activations ``(1, n, *positions)``."""
    counts = torch.zeros(layer.shape[1], bins.num_bins, dtype=torch.int64, device=layer.device)
    add_layer_(counts, layer, bins)
    return counts


def dna_realism_map(
    activations: Tensor | Mapping[str, Tensor],
    reference_counts: Tensor,
    low: Tensor,
    high: Tensor,
    weights: Tensor | None = None,
    contrast_counts: Tensor | None = None,
) -> dict[str, Tensor]:
    r"""Compute maps whose means over positions add up to :func:`dna_realism`.

    The dna-emd of a neuron is the cost of moving the sorted activations of the image to the quantiles of the reference.
    The value of a position is the cost of moving its own activation. Activations in the same bin are moved to the same
    quantiles, so their costs are equal. For a neuron of an image with P positions, the cost of position p is

    .. math::
        c_p = \frac{P}{h_k} \int_{F[k-1]}^{F[k]} |Q_{ref}(u) - k| \, du, \qquad k = bin(p),

    where F are the cumulative shares of the image, :math:`h_k` is its number of activations in bin k, and Q are the
    quantiles of the reference, in bins.

    Args:
        activations: Finite floating point activations, ``{layer: (B, n, *positions)}``, or the tensor of a single
            layer.
        reference_counts: Counts of the reference, shape ``(N, num_bins)``, layers concatenated.
        low: Lower bounds, shape ``(N,)``, float64.
        high: Upper bounds, shape ``(N,)``, float64.
        weights: Weights :math:`W^n` of Eq. (5), shape ``(N,)``; by default, all weights are :math:`1/N`.
        contrast_counts: Counts of the pool, shape ``(N, num_bins)``. The map for the pool is subtracted. None returns
            the map for the reference.

    Returns:
        Map of each layer, ``(B, *positions)``, float64, in bins. A single layer is called ``"activations"``.

    Raises:
        ValueError: If shapes do not match, a value is not finite, or a neuron of a set has no counts.

    Example:
        >>> image = torch.tensor([[[0.1, 0.9]]])  # one neuron, two positions
        >>> bounds = torch.tensor([0.0]), torch.tensor([1.0])
        >>> dna_realism_map(image, torch.tensor([[8, 0, 0, 0]]), *bounds)["activations"]
        tensor([[0., 3.]], dtype=torch.float64)

    """
    layers = {"activations": activations} if isinstance(activations, Tensor) else activations
    references, bins = _check_references(reference_counts, low, high, contrast_counts)
    maps = realism_maps(layers, references, bins, weights)
    return {layer: less_contrast(values) for layer, values in maps.items()}


def realism_maps(
    layers: Mapping[str, Tensor], references: Tensor, bins: Bins, weights: Tensor | None
) -> dict[str, Tensor]:
    """Compute :func:`dna_realism_map` for several references at once.

    Args:
        layers: Activations of each layer, ``(B, n, *positions)``.
        references: Counts of the references, ``(S, N, num_bins)``.
        bins: Bins of the counts.
        weights: Weights of Eq. (5), ``(N,)``, or None for equal weights.

    Returns:
        Maps of each layer, float64, ``(S, B, *positions)``.

    """
    _check_neurons(layers, references.shape[1])
    activations = Activations(layers)
    activations.check()
    totals = references.sum(2, keepdim=True)
    if not totals.all():
        raise ValueError(_NO_COUNTS)
    weights = check_weights(weights, references.shape[1]).to(references.device)
    bin_numbers = torch.arange(bins.num_bins, device=totals.device)
    cumulative = references.cumsum(2).double() / totals
    # Integrals of the quantile function of each reference, up to the end of each bin.
    integrals = (references.double() / totals * bin_numbers).cumsum(2)
    maps = {}
    for layer, (columns, values) in zip(layers, activations.placed(), strict=True):
        positions = values.shape[2:]
        layer_maps = values.new_zeros(len(references), len(values), *positions, dtype=torch.float64)
        layer_bins = bins.take(columns)
        for image, image_activations in enumerate(values):
            _add_costs_(
                layer_maps[:, image],
                image_activations,
                layer_bins,
                cumulative[:, columns],
                integrals[:, columns],
                weights[columns],
            )
        maps[layer] = layer_maps
    return maps


def _add_costs_(
    maps: Tensor, activations: Tensor, bins: Bins, cumulative: Tensor, integrals: Tensor, weights: Tensor
) -> None:
    """Add the weighted costs of the neurons of one layer and image to its maps.

    Args:
        maps: Maps of the image for each reference, ``(S, *positions)``.
        activations: Activations of the image, ``(n, *positions)``.
        bins: Bins of the layer.
        cumulative: Cumulative shares of each reference, ``(S, n, num_bins)``.
        integrals: Integrals of the quantile function of each reference up to the end of each bin, ``(S, n, num_bins)``.
        weights: Weights of the neurons, ``(n,)``.

    """
    positions = activations.shape[1:]
    by_position = activations.flatten(1) if positions else activations[:, None]
    for neurons in blocks(len(by_position), bins.num_bins, _CELLS):
        numbers = bins.take(neurons).numbers(by_position[neurons])
        for reference in range(len(maps)):
            costs = _costs(numbers, cumulative[reference, neurons], integrals[reference, neurons])
            weighted_sum = weights[neurons] @ costs
            maps[reference] += weighted_sum.view(positions)


def _costs(numbers: Tensor, cumulative: Tensor, integral: Tensor) -> Tensor:
    """Compute the cost of each position, ``(n, positions)``: the :math:`c_p` of :func:`dna_realism_map`.

    Args:
        numbers: Number of the bin of each position, int64, ``(n, positions)``.
        cumulative: Cumulative shares of a reference, ``(n, num_bins)``.
        integral: Integral of the quantile function of the reference up to the end of each bin, ``(n, num_bins)``.

    """
    num_positions = numbers.shape[1]
    counts = torch.zeros_like(cumulative, dtype=torch.int64).scatter_add_(1, numbers, torch.ones_like(numbers))
    k = torch.arange(counts.shape[1], dtype=torch.float64, device=counts.device)
    # Cumulative shares of the image at the end and at the beginning of each bin.
    ends = counts.cumsum(1).double() / num_positions
    begins = _shifted(ends)
    # Integrals of the quantile function up to these shares. They are linear between the steps of the reference.
    quantile = torch.searchsorted(cumulative, ends).clamp(max=len(k) - 1)
    up_to_end = integral.gather(1, quantile) - quantile * (cumulative.gather(1, quantile) - ends)
    up_to_begin = _shifted(up_to_end)
    # Split each interval at the reference's cumulative share up to bin k, where its quantiles become larger than k.
    # If this share is outside the interval, one of the two parts is empty.
    middle = torch.minimum(torch.maximum(cumulative, begins), ends)
    up_to_inner_middle = torch.where(middle >= ends, up_to_end, integral)
    up_to_middle = torch.where(middle <= begins, up_to_begin, up_to_inner_middle)
    below = k * (middle - begins) - (up_to_middle - up_to_begin)
    above = up_to_end - up_to_middle - k * (ends - middle)
    costs = (below + above) * num_positions / counts.clamp(min=1)
    return costs.gather(1, numbers)


def _shifted(ends: Tensor) -> Tensor:
    """Return values at the beginning of each bin from values at the end of each bin, ``(n, num_bins)``."""
    return torch.nn.functional.pad(ends, (1, 0))[:, :-1]


def _check_neurons(layers: Mapping[str, Tensor], neurons: int) -> None:
    """Raise ValueError unless the activations of all layers have this number of neurons in total."""
    if sum(layer.shape[1] for layer in layers.values()) != neurons:
        raise ValueError(
            f"Expected activations of the {neurons} neurons that the reference has, but got"
            f" {[tuple(layer.shape) for layer in layers.values()]}"
        )


def _check_references(
    reference_counts: Tensor, low: Tensor, high: Tensor, contrast_counts: Tensor | None
) -> tuple[Tensor, Bins]:
    """Check the arguments of :func:`dna_realism` about references.

    Returns:
        The counts of one or two references, ``(S, N, num_bins)``, and their bins.

    Raises:
        ValueError: If shapes do not match, or the bounds are not valid.

    """
    if reference_counts.ndim != 2:
        shape = tuple(reference_counts.shape)
        raise ValueError(f"Argument `reference_counts` expected to have shape (N, num_bins), but got {shape}")
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


def heat(maps: Mapping[str, Tensor], input_size: tuple[int, int] | None = None, side: int = SIDE) -> Tensor:
    """Combine the maps of all layers into one heat map with ``side * side`` cells.

    The value of each position is spread evenly over the part of the input that the position covers. The value of a
    class token is spread over the whole image. The mean of the heat map is the sum of the means of all maps.

    Args:
        maps: Map of each layer, ``(B, *positions)``, such as from :meth:`DNARealism.map`.
        input_size: Height and width of the network's input; by default, the input is a square.
        side: Number of cells in each direction.

    Returns:
        Heat map of each image, ``(B, side, side)``, float64.

    Example:
        >>> heat({"a": torch.tensor([[[0.0, 4.0]]]), "b": torch.tensor([1.0])}, side=2)
        tensor([[[1., 5.],
                 [1., 5.]]], dtype=torch.float64)

    """
    if not maps:
        raise ValueError("Argument `maps` expected to hold the map of a layer or more, but got none")
    layers = [_heat_of_layer(values, input_size, side) for values in maps.values()]
    return reduce(torch.add, layers)


def _heat_of_layer(values: Tensor, input_size: tuple[int, int] | None, side: int) -> Tensor:
    """Return the heat map of one layer, ``(B, side, side)``, from its map, ``(B, *positions)``."""
    cells = cells_of(values.shape[1:], input_size).double().to(values.device)
    left, top, right, bottom = cells.T
    covered_rows = _covered(top, bottom, side)
    covered_columns = _covered(left, right, side)
    by_position = values.flatten(1).double() if values.ndim > 1 else values[:, None].double()
    # The mean of the heat map is the mean over positions: divide by the number of positions and the area of each cell.
    densities = by_position / (len(cells) * (right - left) * (bottom - top))
    return torch.stack([covered_rows.T @ (row[:, None] * covered_columns) for row in densities])


def _covered(begins: Tensor, ends: Tensor, side: int) -> Tensor:
    """Return the share of each of ``side`` equal intervals that each position covers, ``(positions, side)``.

    Args:
        begins: Beginning of the interval that each position covers, relative to the length of the input.
        ends: End of this interval.
        side: Number of equal intervals into which the input is divided.

    """
    edges = torch.arange(side + 1, dtype=torch.float64, device=begins.device) / side
    overlap = torch.minimum(ends[:, None], edges[1:]) - torch.maximum(begins[:, None], edges[:-1])
    return overlap.clamp(min=0) * side
