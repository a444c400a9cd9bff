"""Display names of neurons: numbers, but properties of images have names."""

from __future__ import annotations

from torchmetrics_dna.images.properties import LAYER, PROPERTIES


def name_of(layer: str, number: int) -> str:
    """Return the number of a neuron within a layer as text, or the name of a property.

    Example:
        >>> name_of("head", 7), name_of("properties", 3)
        ('7', 'brightness')

    """
    return PROPERTIES[number] if layer == LAYER and number < len(PROPERTIES) else str(number)


def in_words(layer: str, number: int) -> str:
    """Return the name of a neuron with its layer.

    Example:
        >>> in_words("head", 7), in_words("properties", 3)
        ('head neuron 7', 'brightness (properties)')

    """
    name = name_of(layer, number)
    return f"{layer} neuron {number}" if name == str(number) else f"{name} ({layer})"
