"""Measure distances of single pictures to references, neuron by neuron, in one forward pass for all references."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torchmetrics_dna import DNAExtractor, make_dna
from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.functional import activation_histogram, dna_emd
from torchmetrics_dna.images import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BATCH = 20


def dna_of(pictures: Tensor, extractor: DNAExtractor, num_bins: int = 1000) -> HistogramDNA:
    """The DNA of uint8 pictures ``(B, 3, height, width)``."""
    dna = make_dna(list(pictures), extractor, num_bins=num_bins, reading=Reading(num_workers=0))
    assert isinstance(dna, HistogramDNA)
    return dna


def counts_of_each(pictures: Tensor, extractor: DNAExtractor, num_bins: int) -> Iterator[Tensor]:
    """Counts ``(N, num_bins)`` of one picture after the other."""
    assert extractor.ranges is not None
    low, high = (extractor.neurons.split(bound) for bound in extractor.ranges.bounds())
    for batch in pictures.split(BATCH):
        activations = extractor(batch)
        for i in range(len(batch)):
            alone = {layer: values[i : i + 1] for layer, values in activations.items()}
            yield torch.cat([activation_histogram(x, low[name], high[name], num_bins) for name, x in alone.items()])


def neuron_distances(pictures: Tensor, references: Sequence[Tensor], extractor: DNAExtractor) -> Tensor:
    """dna-emd of each neuron to each reference's counts ``(N, bins)``: shape ``(references, pictures, N)``, float32."""
    of_each = counts_of_each(pictures, extractor, references[0].shape[1])
    rows = [torch.stack([dna_emd(own, other, reduction="none").float() for other in references]) for own in of_each]
    return torch.stack(rows, 1)
