"""Pure functions: activations to counts, and counts or moments to distances."""

from torchmetrics_dna.binning import activation_histogram
from torchmetrics_dna.functional.emd import dna_emd
from torchmetrics_dna.functional.frechet import dna_frechet
from torchmetrics_dna.functional.layer_frechet import layer_frechet_distance

__all__ = ["activation_histogram", "dna_emd", "dna_frechet", "layer_frechet_distance"]
