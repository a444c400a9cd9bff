"""Scale of dna-emd: distances that known changes make, measured with one extractor, its layers, bins and ranges."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from torchmetrics_dna.extractors.presets import PRESETS
from torchmetrics_dna.files.damage import read_json

if TYPE_CHECKING:
    from pathlib import Path

    from torchmetrics_dna.dna.histogram import HistogramDNA

_BESIDE = "image preparations (properties)"


class ScaleMark(NamedTuple):
    """Distance that a known change makes, in bins, corrected for sampling noise: mean and range over draws."""

    name: str
    mean: float
    least: float
    most: float


class Scale(NamedTuple):
    """Distances of known changes."""

    marks: tuple[ScaleMark, ...]  # ascending
    images: str  # on each side of a draw, in words
    num_draws: int


def scale_for(dna: HistogramDNA) -> Scale | None:
    """Return the packaged scale of distances from this DNA; None unless it was measured in exactly this way."""
    preset = PRESETS.get(dna.extractor)
    if preset is None or preset.scale is None:
        return None
    record = _read(preset.scale)
    if record["measured_with"] != measured_with(dna):
        return None
    marks = tuple(ScaleMark(**mark) for mark in record["marks"])
    return Scale(marks, record["images"], record["draws"])


def measured_with(dna: HistogramDNA) -> dict[str, Any]:
    """Return all that a distance in bins depends on beside the images, in json's types."""
    # properties measured beside the network are not among the neurons
    return {key: value for key, value in dna._identity().items() if key != _BESIDE}


@lru_cache(maxsize=2)
def _read(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = read_json(path, dict)
    return record
