"""Activations to per-neuron statistics: histogram counts, moments of spatial means."""

from torchmetrics_dna.binning.histogram import activation_histogram, add_counts_
from torchmetrics_dna.binning.moments import activation_moments, add_moments_

__all__ = ["activation_histogram", "activation_moments", "add_counts_", "add_moments_"]
