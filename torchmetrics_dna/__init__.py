"""Visual DNA as torchmetrics: score generated images, compare image sets, neuron by neuron.

Everything loads when it is first used, so importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
    from torchmetrics_dna.sets.compare import compare, make_dna
    from torchmetrics_dna.sets.compare_many import compare_many
    from torchmetrics_dna.sets.comparison import Comparison
    from torchmetrics_dna.sets.comparisons import Comparisons
    from torchmetrics_dna.sets.rank import rank
    from torchmetrics_dna.sets.ranking import Ranking

__all__ = [
    "CMMD",
    "DNAEMD",
    "MIND",
    "PRDC",
    "ActivationRange",
    "ActivationRanges",
    "Comparison",
    "Comparisons",
    "DNAExtractor",
    "DNAFrechet",
    "DNARealism",
    "GaussianDNA",
    "HistogramDNA",
    "LayerFrechetDistance",
    "LayerGaussianDNA",
    "NeuronWeights",
    "Neurons",
    "Ranking",
    "compare",
    "compare_many",
    "load_dna",
    "make_dna",
    "rank",
    "report",
]

_HOME = {
    "ActivationRange": "metrics",
    "ActivationRanges": "neurons",
    "CMMD": "metrics",
    "Comparison": "sets.comparison",
    "Comparisons": "sets.comparisons",
    "DNAEMD": "metrics",
    "DNAExtractor": "extractors",
    "DNAFrechet": "metrics",
    "DNARealism": "metrics",
    "GaussianDNA": "dna",
    "HistogramDNA": "dna",
    "LayerFrechetDistance": "metrics",
    "LayerGaussianDNA": "dna",
    "MIND": "metrics",
    "NeuronWeights": "dna.neuron_weights",
    "Neurons": "neurons",
    "PRDC": "metrics",
    "Ranking": "sets.ranking",
    "compare": "sets.compare",
    "compare_many": "sets.compare_many",
    "load_dna": "dna.load",
    "make_dna": "sets.compare",
    "rank": "sets.rank",
    "report": "reporting",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
