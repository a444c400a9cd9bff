"""Statistic whose value is the activation range of each neuron."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.binning.activations import split_extremes
from torchmetrics_dna.neurons.ranges import ActivationRanges, FixedMargin
from torchmetrics_dna.statistics.base import Field, Origin, State, Statistic
from torchmetrics_dna.statistics.nonfinite import check_number, check_refused, note_refused_

if TYPE_CHECKING:
    from torchmetrics_dna.binning import Activations
    from torchmetrics_dna.extractors import DNAExtractor


class RangeStatistic(Statistic):
    """Minimum and maximum activation of each neuron.

    A state has two tensors. ``extremes`` contains ``(-minimum, maximum)``, float64. ``images`` contains numbers of
    images, int64: first the number that each layer refused, see :mod:`.nonfinite`, and last the number of all images.

    Args:
        extractor: Extractor of the activations.
        margin: Margin rule of the ranges, ``"widen"`` or ``"scale"``.

    """

    kind = "activation-ranges"

    def __init__(self, extractor: DNAExtractor, margin: FixedMargin) -> None:
        super().__init__(extractor, margins=margin)
        self.margin = margin

    @property
    @override
    def fields(self) -> dict[str, Field]:
        return {
            "images": Field(len(self.neurons) + 1, torch.int64, 0),
            "extremes": Field(2 * self.neurons.total, torch.float64, -torch.inf, "max"),
        }

    @override
    def add_(self, state: State, activations: Activations, keys: Tensor | None = None) -> None:
        extremes = activations.extremes
        activations.check(wait=False)
        self._widen(state, extremes)
        note_refused_(state["images"][:-1], activations)
        state["images"][-1] += len(activations)

    def add_ranges_(self, state: State, ranges: ActivationRanges) -> None:
        """Add earlier ranges in place.

        Raises:
            ValueError: If their layers or their margin rule differ.

        """
        if ranges.margin != self.margin:
            raise ValueError(f"Can't unite ranges with margin {self.margin!r} and margin {ranges.margin!r}")
        restricted = ranges.restrict(self.neurons)
        self._widen(state, torch.cat([-restricted.minimum, restricted.maximum]))

    @override
    def value(self, state: State, origin: Origin) -> ActivationRanges:
        """Return the ranges of a state, on the CPU.

        Raises:
            RuntimeError: If it has no images.

        """
        minimum, maximum = self.minimum_and_maximum(state)
        return ActivationRanges(minimum, maximum, self.neurons, self.margin)

    def num_images(self, state: State) -> int:
        """Return the number of images.

        Raises:
            ValueError: If images were refused because activations were not finite.

        """
        *refused, images = map(int, state["images"].tolist())
        check_refused(refused, self.neurons)
        return check_number(images)

    def minimum_and_maximum(self, state: State) -> tuple[Tensor, Tensor]:
        """Return the minimum and the maximum of each neuron, ``(N,)`` each; the maximum is a view of the state.

        Raises:
            RuntimeError: If there are no images.
            ValueError: If images were refused because activations were not finite.

        """
        self.num_images(state)
        if state["extremes"].isinf().any():
            raise RuntimeError("At least one image is required to know activation ranges, but got 0")
        return split_extremes(state["extremes"])

    @staticmethod
    def _widen(state: State, extremes: Tensor) -> None:
        """Widen the extremes of a state in place, so that they include other extremes."""
        own = state["extremes"]
        own.copy_(torch.maximum(own, extremes.to(own.device)))
