"""Metrics of torchmetrics, built on statistics and distances."""

from torchmetrics_dna.metrics.activation_range import ActivationRange
from torchmetrics_dna.metrics.cmmd import CMMD
from torchmetrics_dna.metrics.collection import SharedCollection
from torchmetrics_dna.metrics.emd import DNAEMD
from torchmetrics_dna.metrics.frechet import DNAFrechet
from torchmetrics_dna.metrics.layer_frechet import LayerFrechetDistance
from torchmetrics_dna.metrics.mind import MIND
from torchmetrics_dna.metrics.prdc import PRDC
from torchmetrics_dna.metrics.published import published_metrics
from torchmetrics_dna.metrics.realism import DNARealism

__all__ = [
    "CMMD",
    "DNAEMD",
    "MIND",
    "PRDC",
    "ActivationRange",
    "DNAFrechet",
    "DNARealism",
    "LayerFrechetDistance",
    "SharedCollection",
    "published_metrics",
]
