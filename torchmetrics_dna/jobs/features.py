"""Statistics of single images: spatial means, and distances to references."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from typing_extensions import override

from torchmetrics_dna.functional.heat import heat
from torchmetrics_dna.statistics.rows import ImageRows

if TYPE_CHECKING:
    from torch import Tensor

    from torchmetrics_dna.binning import Activations
    from torchmetrics_dna.neurons.index import Neurons
    from torchmetrics_dna.statistics.scores import ImageScorer


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
    def rows(self, activations: Activations) -> Tensor:
        return torch.cat([*map(activations.only(self.neurons).means, self.neurons)], 1).float()


class Distances(ImageRows):
    """Scores of each image against S references."""

    def __init__(self, scorer: ImageScorer) -> None:
        super().__init__()
        self._scorer = scorer

    @override
    def rows(self, activations: Activations) -> Tensor:
        return self._scorer(activations).T


class Heat(ImageRows):
    """Heat map of the score of each image, by :func:`heat`, flattened: ``(images, side * side)``, float64."""

    def __init__(self, scorer: ImageScorer) -> None:
        super().__init__()
        self._scorer = scorer

    @override
    def rows(self, activations: Activations) -> Tensor:
        (layers,) = activations.parts
        return heat(self._scorer.maps(layers), self._scorer.extractor.input_size).flatten(1)


def contrasted(distances: Tensor) -> Tensor:
    """Return scores of images from their distances ``(images, S)``: the first, minus the second if there is one."""
    return distances[:, 0] if distances.shape[1] == 1 else distances[:, 0] - distances[:, 1]
