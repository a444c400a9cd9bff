"""Display names of neurons."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from reprlib import repr as brief
from typing import TYPE_CHECKING, Any, Union

from torchmetrics_dna.files.damage import read_json, refusing
from torchmetrics_dna.images.properties import LAYER, PROPERTIES

if TYPE_CHECKING:
    import os

    from torchmetrics_dna.neurons.index import Neurons

NeuronNames = Mapping[str, Mapping[int, str]]
GivenNames = Union[str, "os.PathLike[str]", Mapping[str, Mapping[Any, str]]]

_FILE = 'names of neurons, json with {layer: {"neuron number": "text"}}'


def name_of(layer: str, number: int, names: NeuronNames | None = None) -> str:
    """Return the name of a neuron, given by its number within a layer, or that number; properties have their own names.

    Example:
        >>> name_of("head", 7), name_of("properties", 3), name_of("head", 7, {"head": {7: "dog faces"}})
        ('7', 'brightness', 'dog faces')

    """
    if layer == LAYER and number < len(PROPERTIES):
        return PROPERTIES[number]
    return (names or {}).get(layer, {}).get(number, str(number))


def number_and_name(layer: str, number: int, names: NeuronNames | None = None) -> str:
    """Return the number and name of a neuron, for use beside its layer; for a property the name alone.

    Example:
        >>> number_and_name("head", 7), number_and_name("head", 7, {"head": {7: "dog faces"}})
        ('7', '7 dog faces')

    """
    name = name_of(layer, number, names)
    return name if layer == LAYER or name == str(number) else f"{number} {name}"


def in_words(layer: str, number: int, names: NeuronNames | None = None) -> str:
    """Return the name of a neuron with its layer.

    Example:
        >>> in_words("head", 7), in_words("properties", 3), in_words("head", 7, {"head": {7: "dog faces"}})
        ('head neuron 7', 'brightness (properties)', 'dog faces (head neuron 7)')

    """
    name = name_of(layer, number, names)
    if name == str(number):
        return f"{layer} neuron {number}"
    return f"{name} ({layer})" if layer == LAYER else f"{name} ({layer} neuron {number})"


def resolve_names(
    names: GivenNames | None, neurons: Neurons, others: Mapping[str, int] | None = None
) -> dict[str, dict[int, str]]:
    """Read names of neurons from a file or a mapping, and check them against the neurons.

    Args:
        names: Path of a json file, or its content: ``{layer: {number: text}}``, where numbers may be strings, as in
            json. None for no names.
        neurons: Neurons to name.
        others: ``{layer: number of neurons}`` of unused layers of the extractor; their names are checked and dropped.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is malformed, a layer or a neuron does not exist, or a name is not a text.

    Example:
        >>> from torchmetrics_dna.neurons import Neurons
        >>> resolve_names({"head": {"7": "dog faces"}}, Neurons({"head": 1280}))
        {'head': {7: 'dog faces'}}

    """
    if names is None:
        return {}
    widths = {**(others or {}), **neurons}
    if isinstance(names, Mapping):
        try:
            resolved = {layer: _checked(layer, layer_names, widths, neurons) for layer, layer_names in names.items()}
        except ValueError as err:
            raise ValueError(f"Argument `neuron_names`: {err}") from None
    else:
        with refusing(names, _FILE):
            content = read_json(Path(names), dict).items()
            resolved = {layer: _checked(layer, layer_names, widths, neurons) for layer, layer_names in content}
    return {layer: layer_names for layer, layer_names in resolved.items() if layer in neurons}


def _checked(layer: str, layer_names: Any, widths: Mapping[str, int], neurons: Neurons) -> dict[int, str]:
    """Return the checked names of one layer, by number."""
    of_selection = layer in neurons and not isinstance(neurons.numbers(layer), range)  # the layer's width is unknown
    if layer not in widths:
        raise ValueError(f"there is no layer {layer!r}; the layers are: {', '.join(widths)}")
    if layer == LAYER:
        raise ValueError(f"layer {layer!r} has names of its own; leave it out")
    if not isinstance(layer_names, Mapping):
        raise ValueError(f"layer {layer!r} is {brief(layer_names)}, expected {{number: text}}")
    checked = {}
    for key, name in layer_names.items():
        number = int(key) if isinstance(key, str) and key.isdecimal() else key
        if type(number) is not int or number < 0 or (number >= widths[layer] and not of_selection):
            most = "on" if of_selection else f"to {widths[layer] - 1}"
            raise ValueError(f"layer {layer!r} has no neuron {key!r}; expected a number from 0 {most}")
        if number in checked:
            raise ValueError(f"layer {layer!r} has two names of neuron {number}")
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"the name of neuron {number} of layer {layer!r} is {brief(name)}, expected a text")
        checked[number] = name
    return checked
