"""Frozen networks: images to named activations."""

from torchmetrics_dna.extractors.base import DNAExtractor, PooledLayer
from torchmetrics_dna.extractors.presets import PRESETS, Preset

__all__ = ["PRESETS", "DNAExtractor", "PooledLayer", "Preset"]
