"""How activations add up to a DNA, or to ranges: what a running state holds, how it grows, merges and is reduced."""

from torchmetrics_dna.tally.base import DNATally, Field, Side, Tally
from torchmetrics_dna.tally.features import FeatureTally
from torchmetrics_dna.tally.histogram import HistogramTally, SelfRangingTally, histogram_tally
from torchmetrics_dna.tally.moments import CrossMomentTally, MomentTally
from torchmetrics_dna.tally.ranges import RangeTally

__all__ = [
    "CrossMomentTally",
    "DNATally",
    "FeatureTally",
    "Field",
    "HistogramTally",
    "MomentTally",
    "RangeTally",
    "SelfRangingTally",
    "Side",
    "Tally",
    "histogram_tally",
]
