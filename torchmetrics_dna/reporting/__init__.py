"""A comparison as one page that opens without a network."""

from torchmetrics_dna.reporting.build import report

__all__ = ["report"]
