"""Neurons of a network, and the ranges of their activations."""

from typing import TYPE_CHECKING

from torchmetrics_dna.extras import lazily

if TYPE_CHECKING:
    from torchmetrics_dna.neurons.index import Neurons
    from torchmetrics_dna.neurons.ranges import ActivationRanges

__all__ = ["ActivationRanges", "Neurons"]

_HOME = {"ActivationRanges": "neurons.ranges", "Neurons": "neurons.index"}
__getattr__ = lazily(__name__, _HOME)
