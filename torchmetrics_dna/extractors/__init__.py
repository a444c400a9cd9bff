"""Frozen networks that map images to named activations; the list of presets loads without torch."""

from torchmetrics_dna.options import lazily

__getattr__, __dir__, __all__ = lazily(__name__, __file__)
