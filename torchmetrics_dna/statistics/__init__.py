"""Statistics: accumulated states of activations, with their update, merge and reduction."""

from torchmetrics_dna.statistics.base import DNAStatistic, Field, State, Statistic
from torchmetrics_dna.statistics.histogram import HistogramStatistic, SelfRangingStatistic
from torchmetrics_dna.statistics.moments import CrossMomentStatistic, MomentStatistic
from torchmetrics_dna.statistics.ranges import RangeStatistic
from torchmetrics_dna.statistics.rows import FeatureStatistic

__all__ = [
    "CrossMomentStatistic",
    "DNAStatistic",
    "FeatureStatistic",
    "Field",
    "HistogramStatistic",
    "MomentStatistic",
    "RangeStatistic",
    "SelfRangingStatistic",
    "State",
    "Statistic",
]
