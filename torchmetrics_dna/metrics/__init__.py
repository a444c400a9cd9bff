"""The torchmetrics shells over the functions."""

from torchmetrics_dna.metrics.emd import DNAEMD
from torchmetrics_dna.metrics.frechet import DNAFrechet

__all__ = ["DNAEMD", "DNAFrechet"]
