"""Visual DNA as torchmetrics: score generated images, compare image sets, neuron by neuron.

Everything loads when it is first used, so importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.version import __version__ as __version__

if TYPE_CHECKING:
    from torchmetrics_dna.comparing import compare, make_dna
    from torchmetrics_dna.comparison import Comparison
    from torchmetrics_dna.dna import GaussianDNA, HistogramDNA, LayerGaussianDNA
    from torchmetrics_dna.dna_files import load_dna
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.metrics import DNAEMD, ActivationRange, DNAFrechet, DNARealism, LayerFrechetDistance
    from torchmetrics_dna.neuron_weights import NeuronWeights
    from torchmetrics_dna.neurons import Neurons
    from torchmetrics_dna.ranges import ActivationRanges
    from torchmetrics_dna.ranking import Ranking, rank
    from torchmetrics_dna.reporting import report

__all__ = [
    "DNAEMD",
    "ActivationRange",
    "ActivationRanges",
    "Comparison",
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
    "load_dna",
    "make_dna",
    "rank",
    "report",
]

_HOME = {
    "ActivationRange": "metrics",
    "ActivationRanges": "ranges",
    "Comparison": "comparison",
    "DNAEMD": "metrics",
    "DNAExtractor": "extractors",
    "DNAFrechet": "metrics",
    "DNARealism": "metrics",
    "GaussianDNA": "dna",
    "HistogramDNA": "dna",
    "LayerFrechetDistance": "metrics",
    "LayerGaussianDNA": "dna",
    "NeuronWeights": "neuron_weights",
    "Neurons": "neurons",
    "Ranking": "ranking",
    "compare": "comparing",
    "load_dna": "dna_files",
    "make_dna": "comparing",
    "rank": "ranking",
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
