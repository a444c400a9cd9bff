"""What neurons are called where people read."""

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
    """The name of a neuron, or its number where it has none.

    Args:
        layer: Its layer.
        number: Its number within the layer.
        names: What neurons were given as names; properties have their own.

    Example:
        >>> name_of("head", 7), name_of("properties", 3), name_of("head", 7, {"head": {7: "dog faces"}})
        ('7', 'brightness', 'dog faces')

    """
    if layer == LAYER and number < len(PROPERTIES):
        return PROPERTIES[number]
    return (names or {}).get(layer, {}).get(number, str(number))


def number_and_name(layer: str, number: int, names: NeuronNames | None = None) -> str:
    """A neuron beside its layer: its number, and the name that it was given; of a property the name alone.

    Example:
        >>> number_and_name("head", 7), number_and_name("head", 7, {"head": {7: "dog faces"}})
        ('7', '7 dog faces')

    """
    name = name_of(layer, number, names)
    return name if layer == LAYER or name == str(number) else f"{number} {name}"


def in_words(layer: str, number: int, names: NeuronNames | None = None) -> str:
    """A neuron with its layer.

    Example:
        >>> in_words("head", 7), in_words("properties", 3), in_words("head", 7, {"head": {7: "dog faces"}})
        ('head neuron 7', 'brightness (properties)', 'dog faces (head neuron 7)')

    """
    name = name_of(layer, number, names)
    if name == str(number):
        return f"{layer} neuron {number}"
    return f"{name} ({layer})" if layer == LAYER else f"{name} ({layer} neuron {number})"


def resolve_names(
    given: GivenNames | None, neurons: Neurons, others: Mapping[str, int] | None = None
) -> dict[str, dict[int, str]]:
    """Names of neurons from a file or a mapping, checked against the neurons there are.

    Args:
        given: The path of a json file, or the mapping that is in it: ``{layer: {number: text}}``, where numbers may be
            texts, as they are in json. None for no names.
        neurons: The neurons that are to be named.
        others: ``{layer: number of neurons}`` of layers that the extractor has, too, but that are not looked at; their
            names are checked and left out.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such file, a layer or a neuron is not there, or a name is no text.

    Example:
        >>> from torchmetrics_dna.neurons import Neurons
        >>> resolve_names({"head": {"7": "dog faces"}}, Neurons({"head": 1280}))
        {'head': {7: 'dog faces'}}

    """
    if given is None:
        return {}
    known = {**(others or {}), **neurons}
    if isinstance(given, Mapping):
        where, content = "Argument `neuron_names`: ", given
        try:
            found = {layer: _checked(layer, of_layer, known, neurons) for layer, of_layer in content.items()}
        except ValueError as err:
            raise ValueError(f"{where}{err}") from None
    else:
        with refusing(given, _FILE):
            content = read_json(Path(given), dict)
            found = {layer: _checked(layer, of_layer, known, neurons) for layer, of_layer in content.items()}
    return {layer: of_layer for layer, of_layer in found.items() if layer in neurons}


def _checked(layer: str, of_layer: Any, known: Mapping[str, int], neurons: Neurons) -> dict[int, str]:
    """The names of one layer, by number."""
    if layer not in known:
        raise ValueError(f"there is no layer {layer!r}; the layers are: {', '.join(known)}")
    if layer == LAYER:
        raise ValueError(f"layer {layer!r} has names of its own; leave it out")
    if not isinstance(of_layer, Mapping):
        raise ValueError(f"layer {layer!r} is {brief(of_layer)}, expected {{number: text}}")
    found = {}
    for key, name in of_layer.items():
        number = int(key) if isinstance(key, str) and key.isdecimal() else key
        if type(number) is not int or not _has(layer, number, known, neurons):
            raise ValueError(f"layer {layer!r} has no neuron {key!r}; expected {_numbers(layer, known, neurons)}")
        if number in found:
            raise ValueError(f"layer {layer!r} has two names of neuron {number}")
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"the name of neuron {number} of layer {layer!r} is {brief(name)}, expected a text")
        found[number] = name
    return found


def _has(layer: str, number: int, known: Mapping[str, int], neurons: Neurons) -> bool:
    if layer in neurons and not isinstance(neurons.numbers(layer), range):
        return number >= 0  # some of the layer's neurons are looked at; how many there are is not known
    return 0 <= number < known[layer]


def _numbers(layer: str, known: Mapping[str, int], neurons: Neurons) -> str:
    if layer in neurons and not isinstance(neurons.numbers(layer), range):
        return "a number from 0 on"
    return f"a number from 0 to {known[layer] - 1}"
