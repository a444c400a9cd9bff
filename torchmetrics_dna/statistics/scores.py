"""Scores of single images against references, and the statistic that keeps them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from torchmetrics_dna.binning.bins import bins_within
from torchmetrics_dna.dna import HistogramDNA, check_comparable
from torchmetrics_dna.functional.realism import less_contrast, realism_maps, realism_of
from torchmetrics_dna.functional.reduction import check_weights
from torchmetrics_dna.functional.self_ranging import counts_within
from torchmetrics_dna.options import argument
from torchmetrics_dna.statistics.base import Field, Origin, State, rows_of
from torchmetrics_dna.statistics.histogram import HistogramStatistic, SelfRangingStatistic
from torchmetrics_dna.statistics.nonfinite import check_refused, note_refused_
from torchmetrics_dna.statistics.rows import RowStatistic

if TYPE_CHECKING:
    from torchmetrics_dna.binning import Activations
    from torchmetrics_dna.extractors import DNAExtractor

# Value of `contrast` for a contrast with all images that are scored.
POOL = "pool"
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

    All references and images are counted in the same bins. For self-ranging references, these are equal bins between
    the bounds of the first reference: images are counted in them, and the counts of references are moved to them.

    Args:
        references: The DNAs to score against; the first one sets bins and unit.
        extractor: Extractor of the activations.
        weights: The weights of Eq. (5), shape ``(N,)``; None for the plain mean.
        wait: Whether to sync with the device for errors. If not, scores are NaN where activations are not finite.

    Raises:
        ValueError: If a reference is of another extractor or has no images.

    """

    def __init__(
        self, references: Sequence[HistogramDNA], extractor: DNAExtractor, weights: Tensor | None, wait: bool = True
    ) -> None:
        first = references[0]
        _check_references(references, extractor)
        super().__init__(extractor)
        self.self_ranging = first.self_ranging
        self._wait = wait
        self.weights = check_weights(weights, extractor.neurons.total)
        if first.self_ranging:
            low, high = first.to("cpu").ranged_counts().bounds()
            self._bins = bins_within(low, high, first.num_bins, margin=0)
            counts = [counts_within(reference.to("cpu").ranged_counts(), low, high) for reference in references]
        else:
            self._bins = bins_within(*first.known_ranges.bounds(), first.num_bins)
            counts = [reference.counts for reference in references]
        # With all references in one tensor, one pass over an image's histograms is enough. One reference is not copied.
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
        return {layer: less_contrast(values) for layer, values in maps.items()}

    def _move(self, device: torch.device) -> None:
        """Move counts and bins to the device of activations."""
        if self._counts.device != device:
            self._counts = self._counts.to(device)
            self._bins = self._bins.to(device)


def _check_references(references: Sequence[HistogramDNA], extractor: DNAExtractor) -> None:
    """Raise ValueError if a reference has no images, or can't be compared with images of the extractor.

    The bins are those of the first reference. An empty DNA is enough for this check.
    """
    first = references[0]
    if first.self_ranging:
        statistic: HistogramStatistic | SelfRangingStatistic = SelfRangingStatistic(extractor, first.num_bins)
    else:
        statistic = HistogramStatistic(extractor, first.num_bins, first.known_ranges.restrict(extractor.neurons))
    empty_dna = statistic.value(statistic.empty("cpu"), extractor.origin)
    for reference in references:
        check_comparable(reference, empty_dna)
        if not reference.num_images:
            raise ValueError(f"{argument('reference')} expected to have at least one image, but it has none")


class RealismStatistic(RowStatistic):
    """Scores of single images: outlier scores, distances to a reference, or differences of two distances.

    A state has the lists ``scores``, float64, ``(b,)``, and ``indices``, int64, ``(b,)``, -1 if not given, which stay
    on the CPU.

    Args:
        scorer: Scorer with a reference, or with a reference and a contrast.
        more: Further values that must be equal for two states to be merged.

    """

    kind = "realism"

    def __init__(self, scorer: ImageScorer, **more: Any) -> None:
        super().__init__(scorer.extractor, **more)
        self.scorer = scorer

    @property
    @override
    def row_fields(self) -> dict[str, Field]:
        return {
            "scores": Field(0, torch.float64, reduction="cat"),
            "indices": Field(0, torch.int64, reduction="cat", on_host=True),
        }

    @override
    def add_(self, state: State, activations: Activations, keys: Tensor | None = None) -> None:
        """Add a batch in place; ``keys`` are indices of images in their data set, in all batches or in none."""
        if keys is None:
            keys = torch.full((len(activations),), -1)
        earlier = [rows for rows in rows_of(state, "indices") if len(rows)]
        if earlier:
            check_indexed(torch.stack([earlier[0][0], keys[0]]))
        scores = self.score(activations)
        note_refused_(state["refused"], activations.only(self.neurons))
        rows_of(state, "scores").append(scores)
        # Indices stay on the CPU, since a copy to the device would be a sync.
        rows_of(state, "indices").append(keys)

    def score(self, activations: Activations) -> Tensor:
        """Score a batch, float64, shape ``(B,)``; on a device NaN, if a layer is not finite."""
        return less_contrast(self.scorer(activations))

    @override
    def value(self, state: State, origin: Origin) -> Tensor:
        """Return the scores, float64, by ascending index, each image once; without indices in order of addition.

        ValueError if images were refused, or only some have indices, such as those of some processes.
        """
        scores = self.in_order(state)
        return scores[self._once(state).to(scores.device)]

    def in_order(self, state: State) -> Tensor:
        """Return the scores, float64, in order of addition, whatever the indices; ValueError if images were refused."""
        check_refused(state["refused"].tolist(), self.neurons)
        return self.all_rows(state, "scores")

    def indices(self, state: State) -> Tensor:
        """Return the index of each image of :meth:`value`, on the CPU; without indices, its number."""
        once = self._once(state)
        indices = self.all_rows(state, "indices").cpu()
        return once if (indices < 0).any() else indices[once]

    def _once(self, state: State) -> Tensor:
        """Return positions of the images by ascending index, each image once; without indices in order of addition."""
        indices = self.all_rows(state, "indices").cpu()
        check_indexed(indices)
        if (indices < 0).any():
            return torch.arange(len(indices))
        _, positions = np.unique(indices.numpy(), return_index=True)
        return torch.from_numpy(positions)


def check_indexed(indices: Tensor) -> None:
    """Raise ValueError if only some images have indices."""
    has_index = indices >= 0
    if has_index.any() and not has_index.all():
        raise ValueError(
            "Argument `indices` expected in every call or in none, on all processes alike, since repeated images can't"
            " be told otherwise"
        )


def check_left_out(score: str, **arguments: object) -> None:
    """Raise ValueError if an argument is given that a score does not support."""
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(f"{argument(name)} is not for the score {score!r}")


def check_indices(indices: Tensor | Sequence[int], count: int) -> Tensor:
    """Return indices of images as int64, on the CPU; ValueError unless there are ``count`` of 0 or more."""
    numbers = torch.as_tensor(indices).cpu()
    if numbers.shape != (count,) or numbers.is_floating_point() or (numbers < 0).any():
        raise ValueError(
            f"Argument `indices` expected to be {count} integers of 0 or more, one for each image, but got"
            f" {numbers.dtype} of shape {tuple(numbers.shape)}"
        )
    return numbers.long()
