"""Visual DNA as torchmetrics: score generated images, compare image sets, neuron by neuron.

Everything loads when it is first used, so importing the package costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torchmetrics_dna.extras import lazily
from torchmetrics_dna.version import __version__ as __version__

if TYPE_CHECKING:
    from torchmetrics_dna.dna import GaussianDNA, HistogramDNA, LayerGaussianDNA
    from torchmetrics_dna.dna.load import load_dna
    from torchmetrics_dna.dna.neuron_weights import NeuronWeights
    from torchmetrics_dna.extractors import DNAExtractor
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
    from torchmetrics_dna.sets.class_comparisons import ClassComparisons
    from torchmetrics_dna.sets.compare import compare, make_dna
    from torchmetrics_dna.sets.compare_all import compare_all
    from torchmetrics_dna.sets.compare_classes import compare_classes
    from torchmetrics_dna.sets.compare_many import compare_many
    from torchmetrics_dna.sets.comparison import Comparison
    from torchmetrics_dna.sets.comparisons import Comparisons
    from torchmetrics_dna.sets.distance_matrix import DistanceMatrix
    from torchmetrics_dna.sets.monitor import monitor
    from torchmetrics_dna.sets.rank import rank
    from torchmetrics_dna.sets.ranking import Ranking
    from torchmetrics_dna.sets.versions import Versions, compare_versions

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
    "GaussianDNA",
    "HistogramDNA",
    "LayerFrechetDistance",
    "LayerGaussianDNA",
    "NeuronWeights",
    "Neurons",
    "Ranking",
    "Versions",
    "compare",
    "compare_all",
    "compare_classes",
    "compare_many",
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
    "ClassComparisons": "sets.class_comparisons",
    "Checkpoints": "reporting.checkpoints",
    "Comparison": "sets.comparison",
    "Comparisons": "sets.comparisons",
    "DNACallback": "reporting.lightning",
    "DNAEMD": "metrics",
    "DNAExtractor": "extractors",
    "DNAFrechet": "metrics",
    "DNARealism": "metrics",
    "DistanceMatrix": "sets.distance_matrix",
    "GaussianDNA": "dna",
    "HistogramDNA": "dna",
    "LayerFrechetDistance": "metrics",
    "LayerGaussianDNA": "dna",
    "MIND": "metrics",
    "NeuronWeights": "dna.neuron_weights",
    "Neurons": "neurons",
    "PRDC": "metrics",
    "Ranking": "sets.ranking",
    "Versions": "sets.versions",
    "compare": "sets.compare",
    "compare_all": "sets.compare_all",
    "compare_classes": "sets.compare_classes",
    "compare_many": "sets.compare_many",
    "compare_versions": "sets.versions",
    "load_dna": "dna.load",
    "make_dna": "sets.compare",
    "monitor": "sets.monitor",
    "rank": "sets.rank",
    "report": "reporting",
}


__getattr__ = lazily(__name__, _HOME)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
