"""Activations to per-neuron statistics: histogram counts, moments of spatial means."""

from torchmetrics_dna.binning.bins import Bins, bins_within
from torchmetrics_dna.binning.counting import activation_histogram, add_counts_
from torchmetrics_dna.binning.moments import activation_moments, add_moments_

__all__ = ["Bins", "activation_histogram", "activation_moments", "add_counts_", "add_moments_", "bins_within"]
