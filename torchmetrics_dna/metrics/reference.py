"""What a metric takes from a reference that is given to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torchmetrics_dna.dna import GaussianDNA, HistogramDNA
from torchmetrics_dna.extractors import DNAExtractor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn


_DEFAULT_FEATURE, _DEFAULT_BINS = "efficientnet_lite0", 1000


def as_reference(
    reference: HistogramDNA | GaussianDNA,
    feature: str | nn.Module | DNAExtractor,
    layers: Sequence[str] | None,
    num_bins: int = _DEFAULT_BINS,
    ranges: Any = None,
) -> tuple[str | nn.Module | DNAExtractor, Sequence[str] | None, int, Any]:
    """Feature, layers, bins and ranges: the reference's wherever the argument has its default.

    Raises:
        TypeError: If the reference is no DNA.

    """
    if not isinstance(reference, (HistogramDNA, GaussianDNA)):
        raise TypeError(f"Argument `reference` expected to be a DNA, but got {type(reference).__name__}")
    if feature == _DEFAULT_FEATURE:
        feature = reference.extractor
    if layers is None and not isinstance(feature, DNAExtractor):
        layers = list(reference.neurons)
    if isinstance(reference, HistogramDNA):
        num_bins = reference.num_bins if num_bins == _DEFAULT_BINS else num_bins
        ranges = reference.ranges if ranges is None else ranges
    return feature, layers, num_bins, ranges
