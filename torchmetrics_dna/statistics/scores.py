"""Scores of single images relative to references, and the statistic that keeps the scores."""

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

# Value of the argument `contrast` that uses all scored images as the contrast.
POOL = "pool"
Score = Literal["outlier", "contrast", "distance"]


class ImageScorer(ABC):
    """Base class of functions that score single images relative to S references."""

    def __init__(self, extractor: DNAExtractor) -> None:
        self.extractor = extractor

    @abstractmethod
    def __call__(self, activations: Activations) -> Tensor:
        """Return the scores of a batch relative to each reference: float64, ``(S, B)``, on the batch's device."""

    @abstractmethod
    def maps(self, activations: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Split the scores of a batch ``{layer: (B, n, *positions)}`` among positions.

        Returns:
            Maps ``{layer: (B, *positions)}``.

        """


class Scorer(ImageScorer):
    """Function that computes the dna-emd from single images to references (sections 5.1 and 5.4 of the paper).

    All references and images are counted in the same bins. If the references are self-ranging, the bounds of the first
    reference are divided into equal bins, and the counts of all references are moved to these bins.

    Args:
        references: DNAs of the references. The first reference determines the bins, and so the unit of the scores.
        extractor: Extractor of the activations.
        weights: The weights of Eq. (5), shape ``(N,)``; None for equal weights.
        wait: Whether to sync with the device to raise errors. If not, all scores of a batch on a device are NaN if an
            activation is not finite.

    Raises:
        ValueError: If a reference has another extractor, or has no images.

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
        # With all references in one tensor, one pass over an image's histograms is enough. A single one is not copied.
        self._counts = counts[0][None] if len(counts) == 1 else torch.stack(counts)

    @override
    def __call__(self, activations: Activations) -> Tensor:
        self._move(activations.device)
        return realism_of(activations, self._counts, self._bins, self.weights, wait=self._wait)

    @override
    def maps(self, activations: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Split the distances of a batch, or the differences of two distances, among positions.

        The means of the maps of all layers add up to the score of an image.
        """
        self._move(next(iter(activations.values())).device)
        maps = realism_maps(activations, self._counts, self._bins, self.weights)
        return {layer: less_contrast(values) for layer, values in maps.items()}

    def _move(self, device: torch.device) -> None:
        """Move counts and bins to the device of activations."""
        if self._counts.device != device:
            self._counts = self._counts.to(device)
            self._bins = self._bins.to(device)


def _check_references(references: Sequence[HistogramDNA], extractor: DNAExtractor) -> None:
    """Raise ValueError if a reference has no images, or can't be compared with images of the extractor."""
    # A DNA without images, in the bins of the first reference, is enough to compare the settings.
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

    A state has the lists ``scores``, float64, ``(b,)``, and ``indices``, int64, ``(b,)``. Indices are -1 if they were
    not passed, and stay on the CPU.

    Args:
        scorer: Scorer with a reference, or with a reference and a contrast.
        more: Further settings that two states must share before they can be merged.

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
        """Add a batch to a state in place.

        Args:
            state: The state.
            activations: Activations of the batch.
            keys: Index of each image in its data set. It is passed for all batches or for none.

        Raises:
            ValueError: If only some batches have indices, or an activation is not finite.

        """
        if keys is None:
            keys = torch.full((len(activations),), -1)
        earlier_indices = [indices for indices in rows_of(state, "indices") if len(indices)]
        if earlier_indices:
            # Either all indices of a batch are -1 or none, so one index of each batch is enough.
            check_indexed(torch.stack([earlier_indices[0][0], keys[0]]))
        scores = self.score(activations)
        note_refused_(state["refused"], activations.only(self.neurons))
        rows_of(state, "scores").append(scores)
        # Indices stay on the CPU, because a copy to the device would be a sync.
        rows_of(state, "indices").append(keys)

    def score(self, activations: Activations) -> Tensor:
        """Return the scores of a batch, float64, ``(B,)``; on a device all NaN if an activation is not finite."""
        return less_contrast(self.scorer(activations))

    @override
    def value(self, state: State, origin: Origin) -> Tensor:
        """Return the scores, float64, ``(images,)``.

        Scores are sorted by index, with one score per index. Without indices, they are in order of addition.

        Raises:
            ValueError: If images were refused, or if only some images have indices.

        """
        scores = self.in_order(state)
        return scores[self._unique_positions(state).to(scores.device)]

    def in_order(self, state: State) -> Tensor:
        """Return the scores of all images in order of addition, float64.

        Raises:
            ValueError: If images were refused.

        """
        check_refused(state["refused"].tolist(), self.neurons)
        return self.all_rows(state, "scores")

    def indices(self, state: State) -> Tensor:
        """Return the index of each score of :meth:`value`, on the CPU; without indices, the number of the image."""
        positions = self._unique_positions(state)
        indices = self.all_rows(state, "indices").cpu()
        return positions if (indices < 0).any() else indices[positions]

    def _unique_positions(self, state: State) -> Tensor:
        """Return the positions of the scores of :meth:`value` among all scores: by ascending index, each index once."""
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
    """Raise ValueError if an argument that a score does not support is not None."""
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(f"{argument(name)} is not for the score {score!r}")


def check_indices(indices: Tensor | Sequence[int], count: int) -> Tensor:
    """Return indices of images as int64, on the CPU.

    Raises:
        ValueError: Unless they are ``count`` integers of 0 or more.

    """
    numbers = torch.as_tensor(indices).cpu()
    if numbers.shape != (count,) or numbers.is_floating_point() or (numbers < 0).any():
        raise ValueError(
            f"Argument `indices` expected to be {count} integers of 0 or more, one for each image, but got"
            f" {numbers.dtype} of shape {tuple(numbers.shape)}"
        )
    return numbers.long()
