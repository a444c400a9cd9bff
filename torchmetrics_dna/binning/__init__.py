"""Per-neuron statistics of activations: counts of histograms, and moments of spatial means."""

from torchmetrics_dna.binning.activations import Activations
from torchmetrics_dna.binning.bins import Bins, bins_within
from torchmetrics_dna.binning.counting import FoldCounts, activation_histogram, add_counts_

__all__ = ["Activations", "Bins", "FoldCounts", "activation_histogram", "add_counts_", "bins_within"]
