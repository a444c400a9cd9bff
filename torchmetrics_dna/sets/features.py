"""What one pass over images keeps of each of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, cast

import torch
from torch import distributed as dist
from typing_extensions import override

from torchmetrics_dna.binning.moments import spatial_means

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from torchmetrics_dna.binning.single_rows import SingleRows
    from torchmetrics_dna.dna import DNA, HistogramDNA
    from torchmetrics_dna.tally.scores import Scorer

_MOST_KEPT = 2 << 30  # bytes of histograms of images; beyond that they run through the network twice


class PerImage(ABC):
    """What is kept of single images, in the order in which they are added."""

    @abstractmethod
    def add(self, activations: dict[str, Tensor]) -> None:
        """Add a batch of images, ``{layer: (B, n, *positions)}``."""

    @abstractmethod
    def values(self, dnas: Mapping[str, DNA]) -> Tensor:
        """A row for each image, on the CPU, once it is known which DNAs they make, by kind, with those of others."""


class Features(PerImage):
    """Spatial means of the last layer, float32, ``(images, n)``; or of all layers, ``(images, N)``."""

    def __init__(self, all_layers: bool = False) -> None:
        self._all_layers = all_layers
        self._parts: list[Tensor] = []

    @override
    def add(self, activations: dict[str, Tensor]) -> None:
        layers = list(activations.values())[0 if self._all_layers else -1 :]
        self._parts.append(torch.cat([spatial_means([values]) for values in layers]).T.float().cpu())

    @override
    def values(self, dnas: Mapping[str, DNA] | None = None) -> Tensor:
        return torch.cat(self._parts) if self._parts else torch.zeros(0)  # which joins with any shape


class Distances(PerImage):
    """Distances of each image to references, and with ``pools`` to all images of the pass; ``(images, S)``.

    Those to the pool are NaN where the histograms of images could not be kept until it is known.

    Args:
        scorer: Takes the distances.
        pools: Whether the images of the pass are a reference as well.
        distributed: Whether several processes share the pass.

    Attributes:
        pool: Counts of the images of the pass in the scorer's bins, ``(N, num_bins)``, once :meth:`values` was asked.

    """

    def __init__(self, scorer: Scorer, pools: bool = False, distributed: bool = False) -> None:
        self._scorer, self._pools, self._distributed = scorer, pools, distributed
        self._keeps = pools
        self._parts: list[Tensor] = []
        self._rows: list[tuple[Tensor, SingleRows]] = []
        self._bytes = 0
        self.pool = scorer.empty_counts() if pools else torch.zeros(0)

    @override
    def add(self, activations: dict[str, Tensor]) -> None:
        if not self._keeps and not (self._pools and self._scorer.self_ranging):
            self._parts.append(self._scorer([activations]).cpu())
            return
        distances, rows, layout = self._scorer.keep([activations])
        self._parts.append(distances.cpu())
        rows = rows.cpu()
        if self._scorer.self_ranging:  # the DNA of the pool has another grid
            layout.add_counts_(self.pool, rows)
        if self._keeps:
            self._rows.append((rows, layout))
            self._bytes += rows.nbytes
        if self._bytes > _MOST_KEPT:
            self._keeps, self._rows = False, []

    @override
    def values(self, dnas: Mapping[str, DNA]) -> Tensor:
        shape = self._scorer.num_references, 0
        distances = torch.cat(self._parts, 1) if self._parts else torch.zeros(shape, dtype=torch.float64)
        if not self._pools:
            return distances.T
        if not self._scorer.self_ranging:
            self.pool = cast("HistogramDNA", dnas["histogram"]).counts
        elif self._distributed:
            dist.all_reduce(self.pool)
        to_pool = torch.full((1, distances.shape[1]), torch.nan, dtype=torch.float64)
        if self._keeps:
            parts = [self._scorer.distances_to(self.pool, *kept) for kept in self._rows]
            to_pool = torch.cat([to_pool[0, :0], *parts])[None]
        return torch.cat([distances, to_pool]).T


def contrasted(distances: Tensor) -> Tensor:
    """Scores of images from their distances ``(images, S)``."""
    return distances[:, 0] if distances.shape[1] == 1 else distances[:, 0] - distances[:, 1]
