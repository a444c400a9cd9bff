"""The neurons of a network, and the ranges of their activations."""

from torchmetrics_dna.neurons.index import Neurons
from torchmetrics_dna.neurons.ranges import ActivationRanges

__all__ = ["ActivationRanges", "Neurons"]
