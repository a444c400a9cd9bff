"""A network by itself, where properties of images are watched beside it."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

from torchmetrics_dna.extractors.sharing import SharedPass
from torchmetrics_dna.images.properties import LAYER

if TYPE_CHECKING:
    from torchmetrics_dna.extractors.base import DNAExtractor
    from torchmetrics_dna.neurons.index import Neurons


def without_properties(extractor: DNAExtractor) -> DNAExtractor:
    """The same network without properties of images; the extractor itself where it does not watch both.

    Example:
        >>> from torchmetrics_dna import DNAExtractor
        >>> without_properties(DNAExtractor(layers=["head"], properties=True)).neurons
        Neurons(1280 in 1 layer: head 1280)

    """
    network = network_of(extractor.neurons)
    if network is None:
        return extractor
    made = copy(extractor)
    made.__dict__.pop("ranges", None)  # which were found for all neurons
    made.neurons, made.has_properties, made._shared = network, False, SharedPass()
    return made


def network_of(neurons: Neurons) -> Neurons | None:
    """The neurons of a network where properties of images are watched beside it; None where there are not both."""
    layers = [layer for layer in neurons if layer != LAYER]
    return neurons.take(neurons.positions(layers)) if 0 < len(layers) < len(neurons) else None
