"""Figures; the only subpackage that uses matplotlib. Modules are imported on first use."""

from torchmetrics_dna.options import lazily

__getattr__, __dir__, __all__ = lazily(__name__, __file__)
