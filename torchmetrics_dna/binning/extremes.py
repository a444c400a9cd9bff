"""Minimum and maximum of each neuron, in one tensor that is updated by ``maximum`` alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch

from torchmetrics_dna.binning.counting import compiled_for
from torchmetrics_dna.binning.histogram import check_finite

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from torchmetrics_dna.binning.layouts import Parts


def activation_extremes(parts: Parts) -> Tensor:
    """Compute ``(-minimum, maximum)`` of each neuron of non-empty parts, float64, shape ``(2 * N,)``.

    Raises:
        ValueError: If a value is not finite, on the CPU. On a device, such extremes are not finite, without a sync.

    Example:
        >>> activation_extremes([{"head": torch.tensor([[1.0, 5.0], [3.0, -2.0]])}]).tolist()
        [-1.0, 2.0, 3.0, 5.0]

    """
    return image_extremes(parts).amax(0)


def image_extremes(parts: Parts) -> Tensor:
    """Compute :func:`activation_extremes` of each image, shape ``(B, 2 * N)``."""
    if compiled := compiled_for(parts):
        return cast("Tensor", compiled.image_extremes(parts))
    ends = torch.cat([torch.cat([_of_layer(layer) for layer in part.values()], 2) for part in parts], 1)
    extremes: Tensor = ends.double().transpose(0, 1).flatten(1)
    if extremes.device.type == "cpu":
        check_finite(by_layer(extremes.amax(0), {layer: values.shape[1] for layer, values in parts[0].items()}))
    return extremes


def by_layer(extremes: Tensor, widths: Mapping[str, int]) -> Parts:
    """Return views of the extremes of each layer, which are finite if and only if its activations are."""
    split = torch.split(extremes.view(2, -1), list(widths.values()), dim=1)
    return [dict(zip(widths, split, strict=True))]


def _of_layer(values: Tensor) -> Tensor:
    """Return the negated minimum and the maximum over positions, ``(2, B, n)``, float64."""
    flat = values.flatten(2) if values.ndim > 2 else values[..., None]
    return torch.stack([-flat.amin(2).double(), flat.amax(2).double()])


def split_extremes(extremes: Tensor) -> tuple[Tensor, Tensor]:
    """Split ``(..., 2 * N)`` into minimum and maximum, each ``(..., N)``; the maximum is a view."""
    negated_minimum, maximum = extremes.chunk(2, -1)
    return -negated_minimum, maximum
