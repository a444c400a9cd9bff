"""Visual DNA as torchmetrics: score generated images, compare image sets, neuron by neuron.

Submodules are imported on first use, so importing the package is fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torchmetrics_dna.extras import lazily
from torchmetrics_dna.version import __version__ as __version__

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.class_comparisons import ClassComparisons
    from torchmetrics_dna.comparisons.compare import compare
    from torchmetrics_dna.comparisons.compare_all import compare_all
    from torchmetrics_dna.comparisons.comparison import Comparison
    from torchmetrics_dna.comparisons.comparisons import Comparisons
    from torchmetrics_dna.comparisons.distance_matrix import DistanceMatrix
    from torchmetrics_dna.comparisons.monitor import monitor
    from torchmetrics_dna.comparisons.versions import Versions, compare_versions
    from torchmetrics_dna.dna import GaussianDNA, HistogramDNA, LayerGaussianDNA
    from torchmetrics_dna.dna.features import Features
    from torchmetrics_dna.dna.load import load_dna
    from torchmetrics_dna.dna.neuron_weights import NeuronWeights
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import Reading
    from torchmetrics_dna.jobs.make_dna import make_dna
    from torchmetrics_dna.metrics import (
        CMMD,
        DNAEMD,
        MIND,
        PRDC,
        ActivationRange,
        DNAFrechet,
        DNARealism,
        LayerFrechetDistance,
    )
    from torchmetrics_dna.neurons import ActivationRanges, Neurons
    from torchmetrics_dna.reporting import report
    from torchmetrics_dna.reporting.checkpoints import Checkpoints
    from torchmetrics_dna.reporting.lightning import DNACallback
    from torchmetrics_dna.singles.rank import rank
    from torchmetrics_dna.singles.ranking import Ranking

__all__ = [
    "CMMD",
    "DNAEMD",
    "MIND",
    "PRDC",
    "ActivationRange",
    "ActivationRanges",
    "Checkpoints",
    "ClassComparisons",
    "Comparison",
    "Comparisons",
    "DNACallback",
    "DNAExtractor",
    "DNAFrechet",
    "DNARealism",
    "DistanceMatrix",
    "Features",
    "GaussianDNA",
    "HistogramDNA",
    "LayerFrechetDistance",
    "LayerGaussianDNA",
    "NeuronWeights",
    "Neurons",
    "Ranking",
    "Reading",
    "Versions",
    "compare",
    "compare_all",
    "compare_versions",
    "load_dna",
    "make_dna",
    "monitor",
    "rank",
    "report",
]

_HOME = {
    "ActivationRange": "metrics",
    "ActivationRanges": "neurons",
    "CMMD": "metrics",
    "ClassComparisons": "comparisons.class_comparisons",
    "Checkpoints": "reporting.checkpoints",
    "Comparison": "comparisons.comparison",
    "Comparisons": "comparisons.comparisons",
    "DNACallback": "reporting.lightning",
    "DNAEMD": "metrics",
    "DNAExtractor": "extractors",
    "DNAFrechet": "metrics",
    "DNARealism": "metrics",
    "DistanceMatrix": "comparisons.distance_matrix",
    "Features": "dna.features",
    "GaussianDNA": "dna",
    "HistogramDNA": "dna",
    "LayerFrechetDistance": "metrics",
    "LayerGaussianDNA": "dna",
    "MIND": "metrics",
    "NeuronWeights": "dna.neuron_weights",
    "Neurons": "neurons",
    "PRDC": "metrics",
    "Ranking": "singles.ranking",
    "Reading": "images",
    "Versions": "comparisons.versions",
    "compare": "comparisons.compare",
    "compare_all": "comparisons.compare_all",
    "compare_versions": "comparisons.versions",
    "load_dna": "dna.load",
    "make_dna": "jobs.make_dna",
    "monitor": "comparisons.monitor",
    "rank": "singles.rank",
    "report": "reporting",
}


__getattr__ = lazily(__name__, _HOME)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
