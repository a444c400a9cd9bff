"""Per-neuron statistics of activations: histogram counts, moments of spatial means."""

from torchmetrics_dna.binning.bins import Bins, bins_within
from torchmetrics_dna.binning.counting import activation_histogram, add_counts_
from torchmetrics_dna.binning.moments import add_moments_

__all__ = ["Bins", "activation_histogram", "add_counts_", "add_moments_", "bins_within"]
