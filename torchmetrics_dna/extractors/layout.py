"""Where the layers lie in what a network gives, and how much that is."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from torchmetrics_dna.extractors.axes import neuron_axes
from torchmetrics_dna.extractors.capture import probe
from torchmetrics_dna.extractors.views import View

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from torchmetrics_dna.extractors.build import Plan

_DUMMY_SIZE = (224, 224)


@dataclass(frozen=True)
class Layout:
    """How layers are read off the outputs of a network.

    Attributes:
        views: Of which output each layer is which view.
        axes: The axis of each output's neurons.
        widths: How many neurons each layer has.
        bytes_per_image: Memory that the outputs for one image take, in bytes.

    """

    views: Mapping[str, View]
    axes: Mapping[str, int]
    widths: Mapping[str, int]
    bytes_per_image: int

    @classmethod
    def of(cls, plan: Plan, size: tuple[int, int] | None, channels: int) -> Layout:
        """Try the network with an image of this size and so many channels.

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
        for layer, view in views.items():
            view.check(layer, shapes[view.source], plan.network)
        axes = neuron_axes(plan.network, plan.submodules, shapes, size, channels)
        widths = {layer: shapes[view.source][axes[view.source]] for layer, view in views.items()}
        return cls(views, axes, widths, sum(4 * prod(shape[1:]) for shape in shapes.values()))

    def read(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The activations of each layer, ``(B, n, *positions)``."""
        return {
            layer: view.take(outputs[view.source].movedim(self.axes[view.source], 1))
            for layer, view in self.views.items()
        }
