"""Where the layers lie in what a network gives, and how much that is."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torchmetrics_dna.extractors.axes import neuron_axes
from torchmetrics_dna.extractors.capture import probe
from torchmetrics_dna.extractors.projections import STEP as PROJECTED
from torchmetrics_dna.extractors.views import View, with_projected
from torchmetrics_dna.images.properties import LAYER, PROPERTIES
from torchmetrics_dna.neurons.index import Neurons

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torchmetrics_dna.extractors.build import Plan
    from torchmetrics_dna.extractors.projections import Projections

_DUMMY_SIZE = (224, 224)


@dataclass(frozen=True)
class Layout:
    """How layers are read off the outputs of a network.

    Attributes:
        views: Of which output each layer is which view.
        axes: The axis of each output's neurons.
        widths: How many neurons each layer has.
        bytes_per_image: Memory that the outputs for one image take, in bytes, with their projections.
        projections: Random directions to project on, or None.

    """

    views: Mapping[str, View]
    axes: Mapping[str, int]
    widths: Mapping[str, int]
    bytes_per_image: int
    projections: Projections | None = None

    @classmethod
    def of(
        cls, plan: Plan, size: tuple[int, int] | None, channels: int, projections: Projections | None = None
    ) -> Layout:
        """Try the network with an image of this size and so many channels.

        With ``projections``, those of each layer come first, unless the plan says which there are.

        Raises:
            ValueError: If it can't take one, a layer is not there, or its neurons can't be told from positions.

        """
        size = size or _DUMMY_SIZE
        shapes = probe(plan.network, plan.submodules, size, channels)
        for source in plan.outputs or []:
            if source not in shapes:
                raise ValueError(f"Unknown layer {source!r}; the network's outputs are: {', '.join(shapes)}")
        shapes = {source: shapes[source] for source in plan.outputs or shapes}
        views = plan.views or {source: View(source) for source in shapes}
        views = with_projected(views) if projections else views
        for layer, view in views.items():
            view.check(layer, shapes[view.source], plan.network, projections)
        axes = neuron_axes(plan.network, plan.submodules, shapes, size, channels)
        outputs = {source: shape[axes[source]] for source, shape in shapes.items()}
        widths = {layer: view.width(outputs[view.source], projections) for layer, view in views.items()}
        numbers = {source: prod(shape[1:]) for source, shape in shapes.items()}
        projected = [view.source for view in views.values() if PROJECTED in view.steps]
        more = sum(numbers[source] // outputs[source] * projections.count for source in projected) if projections else 0
        return cls(views, axes, widths, 4 * (sum(numbers.values()) + more), projections)

    def read(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The activations of each layer, ``(B, n, *positions)``."""
        return {
            layer: view.take(outputs[view.source].movedim(self.axes[view.source], 1), self.projections)
            for layer, view in self.views.items()
        }


@torch.inference_mode()
def or_nan(parts: list[dict[str, Tensor]], fine: Tensor) -> list[dict[str, Tensor]]:
    """Activations, or NaN in their place if ``fine`` is False: one bool on their device, which is not asked."""
    return [
        {layer: torch.where(fine.to(values.device), values, torch.nan) for layer, values in part.items()}
        for part in parts
    ]


def in_order(widths: Mapping[str, int], layers: Sequence[str], properties: bool) -> Neurons:
    """The layers of a network, and properties before them unless they are among ``layers``, which keep their order."""
    order = [*(layer for layer in widths if layer not in layers), *layers]
    if properties and LAYER not in order:
        order.insert(0, LAYER)
    return Neurons({layer: widths.get(layer, len(PROPERTIES)) for layer in order})
