"""Visual DNA as torchmetrics: score generated images, compare image sets, neuron by neuron.

Submodules are imported on first use, so importing the package is fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torchmetrics_dna.extras import lazily
from torchmetrics_dna.version import __version__ as __version__

if TYPE_CHECKING:
    from torchmetrics_dna.comparisons.compare import compare
    from torchmetrics_dna.comparisons.monitor import monitor
    from torchmetrics_dna.dna.features import Features
    from torchmetrics_dna.dna.load import load_dna
    from torchmetrics_dna.dna.neuron_weights import NeuronWeights
    from torchmetrics_dna.extractors import DNAExtractor
    from torchmetrics_dna.images import Reading
    from torchmetrics_dna.jobs.make import make_dna
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
    from torchmetrics_dna.neurons import ActivationRanges
    from torchmetrics_dna.reporting import report
    from torchmetrics_dna.reporting.checkpoints import Checkpoints
    from torchmetrics_dna.singles.rank import rank

__all__ = [
    "CMMD",
    "DNAEMD",
    "MIND",
    "PRDC",
    "ActivationRange",
    "ActivationRanges",
    "Checkpoints",
    "DNAExtractor",
    "DNAFrechet",
    "DNARealism",
    "Features",
    "LayerFrechetDistance",
    "NeuronWeights",
    "Reading",
    "compare",
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
    "Checkpoints": "reporting.checkpoints",
    "DNAEMD": "metrics",
    "DNAExtractor": "extractors",
    "DNAFrechet": "metrics",
    "DNARealism": "metrics",
    "Features": "dna.features",
    "LayerFrechetDistance": "metrics",
    "MIND": "metrics",
    "NeuronWeights": "dna.neuron_weights",
    "PRDC": "metrics",
    "Reading": "images.reading",
    "compare": "comparisons.compare",
    "load_dna": "dna.load",
    "make_dna": "jobs.make",
    "monitor": "comparisons.monitor",
    "rank": "singles.rank",
    "report": "reporting",
}


__getattr__ = lazily(__name__, _HOME)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
