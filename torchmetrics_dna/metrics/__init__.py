"""Metrics of torchmetrics, built on statistics and distances."""

from torchmetrics_dna.metrics.activation_range import ActivationRange
from torchmetrics_dna.metrics.collection import SharedCollection, published_metrics
from torchmetrics_dna.metrics.dna import DNAEMD, DNAFrechet, LayerFrechetDistance
from torchmetrics_dna.metrics.features import CMMD, MIND, PRDC
from torchmetrics_dna.metrics.outlier_share import OutlierShare
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
    "OutlierShare",
    "SharedCollection",
    "published_metrics",
]
