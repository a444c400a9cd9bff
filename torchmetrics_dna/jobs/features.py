"""Statistics of single images: spatial means, and distances to references."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import distributed as dist
from typing_extensions import override

from torchmetrics_dna.binning.moments import spatial_means
from torchmetrics_dna.functional.heat import heat
from torchmetrics_dna.statistics.base import rows_of
from torchmetrics_dna.statistics.rows import ImageRows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from torchmetrics_dna.binning.layouts import Parts
    from torchmetrics_dna.binning.single_rows import SingleRows
    from torchmetrics_dna.neurons.index import Neurons
    from torchmetrics_dna.statistics import State
    from torchmetrics_dna.statistics.scores import ImageScorer, Scorer

    Histograms = list[tuple[Tensor, SingleRows]]

_MOST_KEPT = 2 << 30  # bytes of histograms of images; beyond that they run through the network twice


class SpatialMeans(ImageRows):
    """Spatial means of some layers, float32, ``(images, N)``; a job turns them into :class:`Features`."""

    def __init__(self, neurons: Neurons) -> None:
        super().__init__()
        self.neurons = neurons

    @classmethod
    def of_last_layer(cls, neurons: Neurons) -> SpatialMeans:
        """Build the statistic that keeps the last layer of ``neurons``."""
        return cls(neurons.take(neurons.positions([list(neurons)[-1]])))

    @override
    def rows(self, activations: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([spatial_means([activations[layer]]) for layer in self.neurons]).T.float()


class Distances(ImageRows):
    """Scores of each image against S references; with ``pools``, also to the pool of all images, in the last column.

    Distances to the pool take a :class:`Scorer`; they are NaN if the histograms of single images took too much memory
    to be kept until the end. Beside its rows, a state has ``"pool"``, the counts of all images in the scorer's bins,
    and these histograms.
    """

    def __init__(self, scorer: ImageScorer, pools: bool = False) -> None:
        super().__init__()
        self._scorer = scorer
        self._pooling = cast("Scorer", scorer) if pools else None

    @override
    def empty(self, device: torch.device | str) -> State:
        state = super().empty(device)
        if self._pooling is not None:
            state |= {"pool": self._pooling.empty_counts(), "histograms": cast("Tensor", list[Any]())}
        return state

    @override
    def rows(self, activations: Mapping[str, Tensor]) -> Tensor:
        return self._scorer([activations]).T

    @override
    def add_(self, state: State, parts: Parts, num_images: int, finite: Tensor | None = None) -> None:
        if self._pooling is None:
            super().add_(state, parts, num_images)
            return
        histograms = _histograms(state)
        for part in parts:
            distances, rows, layout = self._pooling.keep([part])
            rows_of(state).append(distances.T.cpu())
            rows = rows.cpu()
            layout.add_counts_(state["pool"], rows)
            histograms.append((rows, layout))
        if sum(rows.nbytes for rows, _ in histograms) > _MOST_KEPT:
            histograms.clear()

    @override
    def reduce_(self, state: State, group: Any = None) -> None:
        if self._pooling is not None:
            dist.all_reduce(state["pool"], group=group)

    @override
    def value(self, state: State) -> Tensor:
        distances = super().value(state)
        if self._pooling is None or not len(distances):
            return distances
        to_pool = [self._pooling.distances_to(state["pool"], *histograms) for histograms in _histograms(state)]
        column = torch.cat([distances[:0, 0], *to_pool])
        if len(column) < len(distances):
            column = torch.full((len(distances),), torch.nan, dtype=torch.float64)
        _histograms(state).clear()
        return torch.cat([distances, column[:, None]], 1)


class Heat(ImageRows):
    """Heat map of the score of each image, by :func:`heat`, flattened: ``(images, side * side)``, float64."""

    def __init__(self, scorer: ImageScorer) -> None:
        super().__init__()
        self._scorer = scorer

    @override
    def rows(self, activations: Mapping[str, Tensor]) -> Tensor:
        return heat(self._scorer.maps(activations), self._scorer.extractor.input_size).flatten(1)


def _histograms(state: State) -> Histograms:
    return cast("Histograms", state["histograms"])


def contrasted(distances: Tensor) -> Tensor:
    """Return scores of images from their distances ``(images, S)``: the first, minus the second if there is one."""
    return distances[:, 0] if distances.shape[1] == 1 else distances[:, 0] - distances[:, 1]
