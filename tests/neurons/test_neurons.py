from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchmetrics_dna.neurons import Neurons

widths = st.dictionaries(st.text(min_size=1, max_size=8), st.integers(1, 20), min_size=1, max_size=5)


@given(widths)
def test_flat_index_and_layer_number_are_inverse(layers: dict[str, int]) -> None:
    neurons = Neurons(layers)
    assert neurons.total == sum(layers.values())
    assert [neurons.index(*neurons.locate(i)) for i in range(neurons.total)] == list(range(neurons.total))
    assert [neurons.locate(i)[0] for i in range(neurons.total)] == [k for k, n in layers.items() for _ in range(n)]


@given(widths, st.data())
def test_a_selection_keeps_the_numbers_within_layers(layers: dict[str, int], data: st.DataObject) -> None:
    neurons = Neurons(layers)
    chosen = data.draw(st.sets(st.integers(0, neurons.total - 1), min_size=1))
    selected = neurons.take(neurons.positions(neurons=list(chosen)))
    assert [selected.locate(i) for i in range(selected.total)] == [neurons.locate(i) for i in sorted(chosen)]


def test_equality_knows_order_and_numbers() -> None:
    assert Neurons({"a": 2, "b": 1}) == Neurons({"a": [0, 1], "b": 1})
    assert Neurons({"a": 2, "b": 1}) != Neurons({"b": 1, "a": 2})
    assert Neurons({"a": [0, 1]}) != Neurons({"a": [0, 2]})
    assert hash(Neurons({"a": 2})) == hash(Neurons({"a": [0, 1]}))


@pytest.mark.parametrize("integer", [np.int64, np.uint8, torch.tensor, np.array, lambda n: n])
def test_any_integer_is_one(integer: Callable[[int], object]) -> None:
    neurons = Neurons({"a": integer(3), "b": [integer(1), integer(4)]})
    assert neurons == Neurons({"a": 3, "b": [1, 4]})
    assert neurons.digest == Neurons({"a": 3, "b": [1, 4]}).digest
    assert all(type(n) is int for layer in neurons for n in [neurons[layer], *neurons.numbers(layer)])


def test_arrays_are_numbers_of_neurons_and_a_layer_may_be_huge() -> None:
    for numbers in (np.array([5]), torch.tensor([5]), (5,)):
        assert Neurons({"a": numbers}) == Neurons({"a": [5]})
    assert Neurons({"a": 10**15}).locate(10**14) == ("a", 10**14)


def test_lists_have_each_layer_once() -> None:
    with pytest.raises(ValueError, match=r"Layers expected to be distinct, but got \['a', 'a'\]"):
        Neurons.from_list([["a", 1], ["a", 2]])


def test_repr_is_short() -> None:
    words = repr(Neurons({f"l{i}": 1 for i in range(9)}))
    assert words.startswith("Neurons(9 in 9 layers")
    assert "l2 1, ..., l7 1" in words


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Neurons({"a": 0}), "Layer 'a' has no neurons"),
        (lambda: Neurons({"a": [2, 1]}), "must be ascending"),
        (lambda: Neurons({"a": [-1]}), "not negative"),
        (lambda: Neurons({"a": 10**400}), "must be ascending"),
        (lambda: Neurons({"a": True}), "Layer 'a' expected a number of neurons, or their numbers, but got True"),
        (lambda: Neurons({"a": torch.tensor([False, True])}), r"but got tensor\(\[False,  True\]\)"),
        (lambda: Neurons({"a": 1.5}), "but got 1.5"),
        (lambda: Neurons({"a": 2}).positions(["b"]), "Unknown layer 'b'; the layers are: a"),
        (lambda: Neurons({"a": 2}).positions(neurons=[2]), "Neuron index 2 is out of range for 2 neurons"),
        (lambda: Neurons({"a": 2}).positions(neurons=[]), "holds no neuron"),
        (lambda: Neurons({"a": 2}).index("a", 5), "There is no neuron 5 of layer 'a'"),
    ],
)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
    with pytest.raises(IndexError, match="out of range"):
        Neurons({"a": 2}).locate(2)
