"""Per-neuron statistics of activations: histogram counts, moments of spatial means."""

from torchmetrics_dna.binning.activations import Activations
from torchmetrics_dna.binning.bins import Bins, bins_within
from torchmetrics_dna.binning.counting import Folds, activation_histogram, add_counts_

__all__ = ["Activations", "Bins", "Folds", "activation_histogram", "add_counts_", "bins_within"]
