"""Score single images against references, of fixed bounds or self-ranging."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torchmetrics_dna.binning.single_rows import SingleRows, positions_of
from torchmetrics_dna.dna import HistogramDNA, check_comparable
from torchmetrics_dna.functional.realism import realism_of_parts, realism_of_rows, weights_or_mean
from torchmetrics_dna.functional.reduction import weigh_and_reduce
from torchmetrics_dna.tally import HistogramTally, SelfRangingTally

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_dna.binning.layouts import Parts
    from torchmetrics_dna.extractors import DNAExtractor

POOL = "pool"  # a contrast with all images that are scored


class Scorer:
    """dna-emd of single images to one reference or several (sections 5.1 and 5.4 of the paper).

    Args:
        references: The DNAs to score against; the first one says how images are counted.
        extractor: Gives the activations.
        weights: The weights of Eq. (5), shape ``(N,)``; None for the plain mean.
        wait: Whether the host waits for errors of a device. If not, scores are NaN where activations are not finite.

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
        ranges, bins = first.known_ranges, first.num_bins
        # where the reference's histograms found their own bounds, so do those of each image
        self._tally = SelfRangingTally(extractor, bins) if first.self_ranging else None
        tally = self._tally or HistogramTally(extractor, bins, ranges.restrict(extractor.neurons))
        for reference in references:
            check_comparable(reference, tally.to_dna(tally.empty("cpu")))
            if not reference.num_images:
                raise ValueError("Argument `reference` expected to be of at least one image, but it has none")
        self.references = list(references)
        self.extractor, self.weights, self._wait = extractor, weights, wait
        self._bounds = ranges.bounds()
        self._layouts: dict[tuple[int, ...], SingleRows] = {}
        # side by side, so that one pass over an image's histograms serves them all
        every = [reference.counts for reference in references]
        self._counts = every[0][None] if len(every) == 1 or self._tally else torch.stack(every)

    @property
    def can_keep(self) -> bool:
        """Whether histograms of images can be kept: those on grids of their own take too much room."""
        return self._tally is None

    def __call__(self, parts: Parts) -> Tensor:
        """Distances of a batch to each reference, in bins: float64, shape ``(S, B)``, on its device.

        Args:
            parts: Activations of some of its images after others, each ``{layer: (b, n, *positions)}``.

        """
        where = next(iter(parts[0].values())).device
        if self._tally is not None:
            return self._one_by_one(parts, self._tally, where)
        self._move(where)
        return realism_of_parts(parts, self._counts, *self._bounds, self.weights, wait=self._wait)

    def keep(self, parts: Parts) -> tuple[Tensor, Tensor, SingleRows]:
        """Likewise, and the histograms of the images, a row for each, with how these are laid out."""
        where = next(iter(parts[0].values())).device
        self._move(where)
        layout = self.layout(positions_of(parts[0]))
        rows = layout.empty(sum(len(next(iter(part.values()))) for part in parts), where)
        kept = layout, rows
        return realism_of_parts(parts, self._counts, *self._bounds, self.weights, kept, self._wait), rows, layout

    def layout(self, positions: list[int]) -> SingleRows:
        """How rows are laid out, for images of which each neuron of a layer has so many activations."""
        if tuple(positions) not in self._layouts:
            neurons = self.extractor.neurons
            weights, bins = weights_or_mean(self.weights, neurons.total), self.references[0].num_bins
            self._layouts[tuple(positions)] = SingleRows(positions, weights, bins, list(neurons.values()))
        return self._layouts[tuple(positions)]

    def distances_to(self, counts: Tensor, rows: Tensor, layout: SingleRows) -> Tensor:
        """Distances to a set of counts ``(N, num_bins)`` of images whose histograms were kept, shape ``(B,)``."""
        return realism_of_rows(rows, layout, counts[None], self.weights)[0]

    def _move(self, where: torch.device) -> None:
        if self._counts.device != where:
            self._counts = self._counts.to(where)
            self._bounds = self._bounds[0].to(where), self._bounds[1].to(where)

    def _one_by_one(self, parts: Parts, tally: SelfRangingTally, device: torch.device) -> Tensor:
        scores = []
        for part in parts:
            for i in range(len(next(iter(part.values())))):
                side = tally.empty(device)
                tally.add_(side, [{layer: values[i : i + 1] for layer, values in part.items()}], 1)
                one = tally.to_dna(side)
                found = [reference.to(device).distances(one) for reference in self.references]
                scores.append(torch.stack([weigh_and_reduce(each, self.weights, "mean") for each in found]))
        return torch.stack(scores, 1) if scores else torch.zeros(len(self.references), 0, device=device).double()


def check_indices(indices: Tensor | Sequence[int], count: int) -> Tensor:
    """Where images stand in their data set, int64, on the CPU; ValueError unless each of so many has a number."""
    numbers = torch.as_tensor(indices).cpu()
    if numbers.shape != (count,) or numbers.is_floating_point() or (numbers < 0).any():
        raise ValueError(
            f"Argument `indices` expected to be {count} integers of 0 or more, one for each image, but got"
            f" {numbers.dtype} of shape {tuple(numbers.shape)}"
        )
    return numbers.long()


def each_once(indices: Tensor) -> Tensor:
    """Places of the images in the order of their indices, each image once; as they came where there are no indices."""
    if (indices < 0).any():
        return torch.arange(len(indices), device=indices.device)
    order = indices.argsort(stable=True)
    ordered = indices[order]
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return order[first]
