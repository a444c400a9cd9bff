"""Extractors and neurons without the properties of images."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

from torchmetrics_dna.images.properties import LAYER

if TYPE_CHECKING:
    from torchmetrics_dna.extractors.base import DNAExtractor
    from torchmetrics_dna.neurons.index import Neurons


def without_properties(extractor: DNAExtractor) -> DNAExtractor:
    """Return the extractor without properties of images; the extractor itself if it does not have both.

    Example:
        >>> from torchmetrics_dna import DNAExtractor
        >>> without_properties(DNAExtractor(layers=["head"], properties=True)).neurons
        Neurons(1280 in 1 layer: head 1280)

    """
    network = network_of(extractor.neurons)
    if network is None:
        return extractor
    reduced = copy(extractor)
    reduced.__dict__.pop("ranges", None)  # cached for all neurons
    reduced.neurons, reduced.has_properties = network, False
    return reduced


def network_of(neurons: Neurons) -> Neurons | None:
    """Return the neurons without properties of images; None unless there are both."""
    layers = [layer for layer in neurons if layer != LAYER]
    return neurons.take(neurons.positions(layers)) if 0 < len(layers) < len(neurons) else None
