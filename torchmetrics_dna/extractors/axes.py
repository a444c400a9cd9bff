"""Find the axis of a layer's output that holds its neurons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torchmetrics_dna.extractors.capture import shapes_reached

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn


def neuron_axes(
    network: nn.Module,
    submodules: Mapping[str, str],
    shapes: Mapping[str, Sequence[int]],
    size: tuple[int, int],
    channels: int = 3,
) -> dict[str, int]:
    """Find the axis of each layer's neurons: ``(B, n)``, ``(B, tokens, n)``, ``(B, n, H, W)`` or ``(B, H, W, n)``.

    Args:
        network: The network.
        submodules: ``{layer: path of the submodule}``; if empty, layers are the network's own outputs.
        shapes: Shape of each layer's output for an image of ``size``.
        size: Height and width.
        channels: Number of channels of an image.

    Raises:
        ValueError: If a layer has another number of dimensions, or its neurons are ambiguous.

    """
    axes: dict[str, int | None] = {}
    for layer, shape in shapes.items():
        if len(shape) not in (2, 3, 4):
            raise ValueError(f"Layer {layer!r} gives shape {tuple(shape)}; expected 2, 3 or 4 dimensions")
        axes[layer] = {2: 1, 3: 2}.get(len(shape)) or (_by_proportion(shape, size) if size[0] == size[1] else None)
    taller: Mapping[str, Sequence[int]] = {}
    if None in axes.values():
        taller = shapes_reached(network, submodules, (2 * size[0], size[1]), channels)
    neuron_axis = {}
    for layer, axis in axes.items():
        shape = shapes[layer]
        decided = axis or _by_growth(shape, taller.get(layer, shape), size)
        if decided is None:
            raise ValueError(
                f"Layer {layer!r} gives shape {tuple(shape)}, in which neurons can't be told from positions;"
                " give another `input_size`, another layer, or a module that gives (B, tokens, n)"
            )
        neuron_axis[layer] = decided
    return neuron_axis


def _by_proportion(shape: Sequence[int], size: tuple[int, int]) -> int | None:
    """Find the neurons beside two axes with the aspect ratio of the image, or with a single position; else None."""
    _, first, second, third = shape
    channels_last, channels_first = (
        height * size[1] == width * size[0] or height == width == 1
        for height, width in ((first, second), (second, third))
    )
    if channels_last == channels_first:
        return 1 if first == second == third == 1 else None
    return 3 if channels_last else 1


def _by_growth(shape: Sequence[int], taller: Sequence[int], size: tuple[int, int]) -> int | None:
    """Find the neurons by the axis of positions that grows when images become taller; None if ambiguous."""
    grown = tuple(axis for axis in (1, 2, 3) if taller[axis] != shape[axis])
    return {(): _by_proportion(shape, size), (1,): 3, (2,): 1}.get(grown)
