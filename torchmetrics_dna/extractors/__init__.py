"""Frozen networks: images to named activations."""

from torchmetrics_dna.extractors.base import DNAExtractor
from torchmetrics_dna.extractors.pooled import PooledLayer
from torchmetrics_dna.extractors.presets import PRESETS, Preset

__all__ = ["PRESETS", "DNAExtractor", "PooledLayer", "Preset"]
