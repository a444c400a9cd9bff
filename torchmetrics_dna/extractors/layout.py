"""Layout of the layers in a network's outputs, and their size."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torchmetrics_dna.extractors.axes import neuron_axes
from torchmetrics_dna.extractors.capture import Probed, probe, submodules_in_words
from torchmetrics_dna.extractors.views import View
from torchmetrics_dna.images.properties import LAYER, PROPERTIES
from torchmetrics_dna.neurons.index import Neurons

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torchmetrics_dna.extractors.build import Plan

_DUMMY_SIZE = (224, 224)


@dataclass(frozen=True)
class Layout:
    """Layout of layers in the outputs of a network.

    Attributes:
        views: Output and view of each layer.
        axes: Axis of the neurons in each output.
        widths: Number of neurons of each layer.
        bytes_per_image: Memory of the outputs of one image, in bytes.
        probed: What a pass of one image showed.

    """

    views: Mapping[str, View]
    axes: Mapping[str, int]
    widths: Mapping[str, int]
    bytes_per_image: int
    probed: Probed

    @classmethod
    def of(cls, plan: Plan, size: tuple[int, int] | None, channels: int) -> Layout:
        """Probe the network with an image of this size and number of channels.

        Raises:
            ValueError: If the network fails, a layer does not exist, or its neurons are ambiguous.

        """
        size = size or _DUMMY_SIZE
        probed = probe(plan.network, plan.submodules, size, channels)
        shapes: Mapping[str, torch.Size] = probed.shapes
        for source in plan.outputs or []:
            if source not in shapes:
                raise ValueError(
                    f"Unknown layer {source!r}; the network's outputs are: {', '.join(shapes)}; its submodules:"
                    f" {submodules_in_words(plan.network)}"
                )
        shapes = {source: shapes[source] for source in plan.outputs or shapes}
        views = plan.views or {source: View(source) for source in shapes}
        for layer, view in views.items():
            view.check(layer, shapes[view.source], plan.network)
        axes = neuron_axes(plan.network, plan.submodules, shapes, size, channels)
        outputs = {source: shape[axes[source]] for source, shape in shapes.items()}
        widths = {layer: outputs[view.source] for layer, view in views.items()}
        for layer, width in widths.items():
            if not width:
                raise ValueError(f"Layer {layer!r} has no neurons: it gives shape {tuple(shapes[views[layer].source])}")
        numbers = sum(prod(shape[1:]) for shape in shapes.values())
        return cls(views, axes, widths, 4 * numbers, probed)

    def read(self, outputs: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
        """Return the activations of each layer, ``(count, n, *positions)``.

        Raises:
            ValueError: If outputs are others than for the image that the network was first tried with.

        """
        activations = {}
        for layer, view in self.views.items():
            if view.source not in outputs:
                raise ValueError(
                    f"The network's outputs are {', '.join(outputs)}, but for the image it was first tried with there"
                    f" was {view.source!r}; give a module whose outputs have the same names for all images"
                )
            output, expected = outputs[view.source], self.probed.shapes[view.source]
            if output.ndim != len(expected) or len(output) != count:
                raise ValueError(
                    f"Layer {layer!r} gave shape {tuple(output.shape)} for {count} images, but {tuple(expected)} for"
                    " one; give a module with one row for each image"
                )
            values = view.take(output.movedim(self.axes[view.source], 1))
            if values.shape[1] != self.widths[layer]:
                raise ValueError(
                    f"Layer {layer!r} gave {values.shape[1]} neurons, but {self.widths[layer]} for the image it was"
                    " first tried with; give the extractor an `input_size`"
                )
            activations[layer] = values
        return activations


@torch.inference_mode()
def or_nan(parts: list[dict[str, Tensor]], valid: Tensor) -> list[dict[str, Tensor]]:
    """Replace activations by NaN unless ``valid``, a bool tensor on their device; needs no device sync."""
    return [
        {layer: torch.where(valid.to(values.device), values, torch.nan) for layer, values in part.items()}
        for part in parts
    ]


def in_order(widths: Mapping[str, int], layers: Sequence[str], properties: bool) -> Neurons:
    """Order the layers of a network by ``layers``, with properties first unless they are in ``layers``."""
    order = [*(layer for layer in widths if layer not in layers), *layers]
    if properties and LAYER not in order:
        order.insert(0, LAYER)
    return Neurons({layer: widths.get(layer, len(PROPERTIES)) for layer in order})
