"""Score single images against a reference, of fixed bounds or self-ranging."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torchmetrics_dna.dna import HistogramDNA, check_comparable
from torchmetrics_dna.functional.realism import realism_of_parts
from torchmetrics_dna.functional.reduction import weigh_and_reduce
from torchmetrics_dna.tally import HistogramTally, SelfRangingTally

if TYPE_CHECKING:
    from torchmetrics_dna.binning.layouts import Parts
    from torchmetrics_dna.extractors import DNAExtractor


class Scorer:
    """dna-emd of single images to a reference (sections 5.1 and 5.4 of the paper).

    Args:
        reference: The DNA to score against.
        extractor: Gives the activations.
        weights: The weights of Eq. (5), shape ``(N,)``; None for the plain mean.

    Raises:
        ValueError: If the reference is of another extractor or has no images.

    """

    def __init__(self, reference: HistogramDNA, extractor: DNAExtractor, weights: Tensor | None) -> None:
        ranges, bins = reference.known_ranges, reference.num_bins
        # where the reference's histograms found their own bounds, so do those of each image
        self._tally = SelfRangingTally(extractor, bins) if reference.self_ranging else None
        tally = self._tally or HistogramTally(extractor, bins, ranges.restrict(extractor.neurons))
        check_comparable(reference, tally.to_dna(tally.empty("cpu")))
        if not reference.num_images:
            raise ValueError("Argument `reference` expected to be of at least one image, but it has none")
        self.reference = reference
        self.weights = weights
        self._bounds = ranges.bounds()

    def __call__(self, parts: Parts) -> Tensor:
        """Scores of a batch, in bins: float64, shape ``(B,)``, on its device.

        Args:
            parts: Activations of some of its images after others, each ``{layer: (b, n, *positions)}``.

        """
        where = next(iter(parts[0].values())).device
        if self._tally is not None:
            return self._one_by_one(parts, self._tally, where)
        if self.reference.counts.device != where:
            self.reference = self.reference.to(where)
            self._bounds = self._bounds[0].to(where), self._bounds[1].to(where)
        return realism_of_parts(parts, self.reference.counts, *self._bounds, self.weights)

    def _one_by_one(self, parts: Parts, tally: SelfRangingTally, device: torch.device) -> Tensor:
        scores = []
        for part in parts:
            for i in range(len(next(iter(part.values())))):
                side = tally.empty(device)
                tally.add_(side, [{layer: values[i : i + 1] for layer, values in part.items()}], 1)
                distances = self.reference.to(device).distances(tally.to_dna(side))
                scores.append(weigh_and_reduce(distances, self.weights, "mean"))
        return torch.stack(scores) if scores else torch.zeros(0, dtype=torch.float64, device=device)
