"""What follows from a DNA that is given: how to measure other images so that they can be compared with it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

from torchmetrics_dna.dna import DNA, HistogramDNA
from torchmetrics_dna.dna.load import load_dna
from torchmetrics_dna.extractors import DNAExtractor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from torchmetrics_dna.neurons.ranges import ActivationRanges

DEFAULT_FEATURE, DEFAULT_BINS = "efficientnet_lite0", 1000
_D = TypeVar("_D", bound=DNA)


def extractor_of(dna: DNA, layers: Sequence[str] | None = None, **settings: Any) -> DNAExtractor:
    """The extractor that made a DNA, with its layers and preparation of images as far as they are known.

    Args:
        dna: The DNA.
        layers: Which layers; by default its own.
        settings: More keyword arguments of :class:`DNAExtractor`.

    Raises:
        ValueError: If it is no named one.

    """
    known = {key: value for key, value in (dna.preparation or {}).items() if key != "resize" and value is not None}
    if "input_size" in known:
        known["input_size"] = tuple(known["input_size"])
    try:
        return DNAExtractor(dna.extractor, layers=layers or list(dna.neurons), **(known | settings))
    except ValueError as err:
        raise ValueError(
            f"Can't build the extractor {dna.extractor!r} of this DNA; give it as `feature`: {err}"
        ) from err


def as_reference(
    reference: _D | str | os.PathLike[str] | None,
    kind: type[_D],
    feature: str | nn.Module | DNAExtractor,
    layers: Sequence[str] | None,
    num_bins: int = DEFAULT_BINS,
    ranges: ActivationRanges | str | os.PathLike[str] | None = None,
) -> tuple[_D | None, str | nn.Module | DNAExtractor, Sequence[str] | None, int, Any]:
    """A metric's reference, feature, layers, bins and ranges: the reference's wherever the argument has its default.

    Raises:
        TypeError: If the reference is no DNA of this kind, or the path of one.

    """
    if reference is None:
        return None, feature, layers, num_bins, ranges
    if isinstance(reference, (str, os.PathLike)):
        loaded: Any = load_dna(reference, None if ranges == "auto" else ranges)
        reference = loaded
    if not isinstance(reference, kind):
        raise TypeError(
            f"Argument `reference` expected to be a {kind.__name__} or the path of one, but got"
            f" {type(reference).__name__}"
        )
    if isinstance(feature, str) and feature == DEFAULT_FEATURE:
        feature, layers = extractor_of(reference, layers), None
    if isinstance(reference, HistogramDNA):
        num_bins = reference.num_bins if num_bins == DEFAULT_BINS else num_bins
        ranges = reference.known_ranges if ranges is None else ranges
    return reference, feature, layers, num_bins, ranges
