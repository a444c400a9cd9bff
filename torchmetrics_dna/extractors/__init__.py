"""Frozen networks that map images to named activations; the list of presets loads without torch."""

from typing import TYPE_CHECKING

from torchmetrics_dna.extras import lazily

if TYPE_CHECKING:
    from torchmetrics_dna.extractors.base import DNAExtractor
    from torchmetrics_dna.extractors.presets import PRESETS, Preset
    from torchmetrics_dna.extractors.sharing import PooledLayer

__all__ = ["PRESETS", "DNAExtractor", "PooledLayer", "Preset"]

_HOME = {
    "DNAExtractor": "extractors.base",
    "PRESETS": "extractors.presets",
    "PooledLayer": "extractors.sharing",
    "Preset": "extractors.presets",
}

__getattr__ = lazily(__name__, _HOME)
