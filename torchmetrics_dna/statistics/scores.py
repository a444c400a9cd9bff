"""Scores of single images against references."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.binning.bins import bins_within
from torchmetrics_dna.dna import HistogramDNA, check_comparable
from torchmetrics_dna.dna.histogram import in_same_bins
from torchmetrics_dna.functional.emd import bounds_on_grid
from torchmetrics_dna.functional.realism import realism_maps, realism_of
from torchmetrics_dna.functional.reduction import check_weights
from torchmetrics_dna.statistics import HistogramStatistic, SelfRangingStatistic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torchmetrics_dna.binning import Activations
    from torchmetrics_dna.extractors import DNAExtractor

POOL = "pool"  # a contrast with all images that are scored
Score = Literal["outlier", "contrast", "distance"]


class ImageScorer(ABC):
    """Base class of functions that score single images against S references."""

    def __init__(self, extractor: DNAExtractor) -> None:
        self.extractor = extractor

    @abstractmethod
    def __call__(self, activations: Activations) -> Tensor:
        """Score a batch against each reference: float64, shape ``(S, B)``, on its device."""

    @abstractmethod
    def maps(self, activations: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Split the scores of a batch ``{layer: (B, n, *positions)}`` among positions, ``{layer: (B, *positions)}``."""


class Scorer(ImageScorer):
    """Function that computes dna-emd of single images to references (sections 5.1 and 5.4 of the paper).

    All references and images are counted in the same bins. For self-ranging references these are the bins of the finest
    grid that holds all references; activations of images outside of it are clipped.

    Args:
        references: The DNAs to score against; the first one sets bins and unit.
        extractor: Extractor of the activations.
        weights: The weights of Eq. (5), shape ``(N,)``; None for the plain mean.
        wait: Whether to sync with the device for errors. If not, scores are NaN where activations are not finite.

    Raises:
        ValueError: If a reference is of another extractor or has no images.

    """

    def __init__(
        self,
        references: Sequence[HistogramDNA],
        extractor: DNAExtractor,
        weights: Tensor | None,
        wait: bool = True,
    ) -> None:
        first = references[0]
        ranges, num_bins = first.known_ranges, first.num_bins
        if first.self_ranging:
            statistic: HistogramStatistic | SelfRangingStatistic = SelfRangingStatistic(extractor, num_bins)
        else:
            statistic = HistogramStatistic(extractor, num_bins, ranges.restrict(extractor.neurons))
        for reference in references:
            check_comparable(reference, statistic.value(statistic.empty("cpu")))
            if not reference.num_images:
                raise ValueError("Argument `reference` expected to be of at least one image, but it has none")
        super().__init__(extractor)
        self.self_ranging, self._wait = first.self_ranging, wait
        self.weights = check_weights(weights, extractor.neurons.total)
        if first.self_ranging:  # in bins of the first reference, on the grid that holds all
            references = in_same_bins(*(reference.to("cpu") for reference in references))
            grid = references[0].grid
            self._bins = grid.bins(num_bins)
            _, _, per_bounds = bounds_on_grid(grid, *ranges.bounds())
            self.weights = self.weights.to(per_bounds) * (per_bounds * num_bins)
        else:
            self._bins = bins_within(*ranges.bounds(), num_bins)
        counts = [reference.counts for reference in references]
        # stacked, so that one pass over an image's histograms compares it with all references
        self._counts = counts[0][None] if len(counts) == 1 else torch.stack(counts)

    @override
    def __call__(self, activations: Activations) -> Tensor:
        self._move(activations.device)
        return realism_of(activations, self._counts, self._bins, self.weights, wait=self._wait)

    @override
    def maps(self, activations: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Split distances, or the difference of two, among positions; the means of the layers' maps add up to them."""
        self._move(next(iter(activations.values())).device)
        maps = realism_maps(activations, self._counts, self._bins, self.weights)
        return {layer: values[0] if len(values) == 1 else values[0] - values[1] for layer, values in maps.items()}

    def _move(self, device: torch.device) -> None:
        """Move counts and bins to the device of activations."""
        if self._counts.device != device:
            self._counts, self._bins = self._counts.to(device), self._bins.to(device)


def check_left_out(score: str, **arguments: object) -> None:
    """Raise ValueError if an argument is given that a score does not take."""
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(
                f"Argument `{name}` is not for the score {score!r}; leave it out, or ask for another `score`"
            )


def check_indices(indices: Tensor | Sequence[int], count: int) -> Tensor:
    """Return indices of images as int64, on the CPU; ValueError unless there are ``count`` of 0 or more."""
    numbers = torch.as_tensor(indices).cpu()
    if numbers.shape != (count,) or numbers.is_floating_point() or (numbers < 0).any():
        raise ValueError(
            f"Argument `indices` expected to be {count} integers of 0 or more, one for each image, but got"
            f" {numbers.dtype} of shape {tuple(numbers.shape)}"
        )
    return numbers.long()
