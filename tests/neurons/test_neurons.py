"""The index of neurons, and their ranges."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import GOLDEN, load
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from torchmetrics_dna import ActivationRanges
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


def ranges(low: list[float], high: list[float], margin: str = "widen") -> ActivationRanges:
    return ActivationRanges(tensor(low), tensor(high), Neurons({"a": len(low)}), margin)


def test_scale_is_the_official_rule() -> None:
    golden = load("histogram.npz")
    for layer in golden["layers"]:
        low, high = golden[f"range_min-{layer}"], golden[f"range_max-{layer}"]
        official = ActivationRanges(
            torch.from_numpy(low), torch.from_numpy(high), Neurons({str(layer): len(low)}), "scale"
        )
        bounds = [b.numpy() for b in official.bounds()]
        np.testing.assert_array_equal((bounds[0] + bounds[1]) / 2, golden[f"norm_mean-{layer}"])
        np.testing.assert_array_equal((bounds[1] - bounds[0]) / 2 + 1e-8, golden[f"norm_std-{layer}"])


def test_widen_holds_the_range_whatever_its_sign() -> None:
    low, high = ranges([1, -3, -1, 2], [3, -1, 1, 2]).bounds()
    torch.testing.assert_close(low, tensor([0.8, -3.2, -1.2, 2.0], dtype=torch.float64))
    torch.testing.assert_close(high, tensor([3.2, -0.8, 1.2, 2.0], dtype=torch.float64))


def test_observe_and_union_give_the_extremes() -> None:
    activations = {"map": torch.randn(4, 3, 5, 5), "tokens": torch.randn(4, 2, 7), "flat": torch.randn(4, 6)}
    ranges_of_all = ActivationRanges.observe(activations)
    parts = [ActivationRanges.observe({k: v[i : i + 1] for k, v in activations.items()}) for i in range(4)]
    united = parts[0].union(*parts[1:])
    expected = torch.cat([v.transpose(0, 1).reshape(v.shape[1], -1).max(1).values for v in activations.values()])
    torch.testing.assert_close(ranges_of_all.maximum, expected.double(), rtol=0, atol=0)
    assert united.digest == ranges_of_all.digest


def test_the_digest_knows_values_layers_and_rule_but_not_the_name() -> None:
    plain = ranges([0, 1], [1, 2])
    named = ActivationRanges(plain.minimum, plain.maximum, plain.neurons, name="x")
    assert named.digest == plain.digest
    assert (named.label, plain.label) == ("x", plain.digest)
    assert ranges([-0.0, 1], [1, 2]).digest == plain.digest
    others = [
        ranges([0, 1], [1, 2], "scale"),
        ranges([0, 1], [1, 2.5]),
        ActivationRanges(plain.minimum, plain.maximum, Neurons({"b": 2})),
        ActivationRanges(plain.minimum, plain.maximum, Neurons({"a": [0, 2]})),
    ]
    assert len({plain.digest, *(o.digest for o in others)}) == 5


def test_official_files_are_read_by_neuron_number(tmp_path: Path) -> None:
    path = GOLDEN / "endtoend" / "activation_ranges.json"
    official = ActivationRanges.load(path)
    assert official.margin == "scale"
    assert dict(official.neurons) == dict(
        zip(*(load("endtoend/endtoend.npz")[k].tolist() for k in ("layers", "neurons")), strict=True)
    )
    shuffled = json.loads(path.read_text())
    for values in shuffled.values():
        for layer in values:
            values[layer] = dict(sorted(values[layer].items()))  # "0", "1", "10", "11", "2"
    (tmp_path / "sorted.json").write_text(json.dumps(shuffled))
    assert ActivationRanges.load(tmp_path / "sorted.json").digest == official.digest


def test_restrict_follows_the_extractor() -> None:
    two_layers = ActivationRanges(torch.arange(5.0), torch.arange(5.0) + 1, Neurons({"a": 2, "b": 3}))
    assert two_layers.restrict(Neurons({"b": 3, "a": 2})).minimum.tolist() == [2, 3, 4, 0, 1]
    assert two_layers.restrict(two_layers.neurons) is two_layers
    assert two_layers.select(["b"]).minimum.tolist() == [2, 3, 4]
    with pytest.raises(ValueError, match=r"no layer 'c' \(its layers: a, b\)"):
        two_layers.restrict(Neurons({"c": 1}))
    with pytest.raises(ValueError, match="has 2 neurons in layer 'a', but the extractor has 4"):
        two_layers.restrict(Neurons({"a": 4}))
    with pytest.raises(ValueError, match="ranges do not fit, it has 2 other neurons in layer 'a' than the extractor"):
        two_layers.restrict(Neurons({"a": [1, 2]}))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ranges([0, 2], [1, 1]), "neuron 1 of layer 'a' is not one: minimum 2.0, maximum 1.0"),
        (lambda: ranges([0, float("nan")], [1, 1]), "neuron 1 of layer 'a'"),
        (lambda: ranges([0], [float("inf")]), "maximum inf"),
        (lambda: ranges([0], [1, 2]), "expected to have shape"),
        (lambda: ranges([0], [1], "wide"), "Argument `margin` expected to be one of"),
        (lambda: ranges([0], [1]).union(ranges([0, 0], [1, 1])), "Can't unite ranges of"),
        (lambda: ranges([0], [1]).union(ranges([0], [1], "scale")), "margin 'widen' and margin 'scale'"),
    ],
)
def test_bad_values(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "as activation ranges, json with `mins_per_neuron` and .*: it is damaged .KeyError: 'mins_per_neuron'"),
        ("[1]", r"its content is \[1\], expected dict"),
        ('{"mins_per_neuron": {"a": {"0": true}}, "maxs_per_neuron": {}}', "its value is True, expected float or int"),
        ('{"mins_per_neuron": {"a": {"0": 1%s}}, "maxs_per_neuron": {}}' % ("0" * 400), "OverflowError"),
        ("[" * 100_000, "RecursionError"),
        ('{"mins_per_neuron": {"a": {"0": 1}}, "maxs_per_neuron": {}}', "different layers or neurons"),
        ('{"mins_per_neuron": {"a": {"x": 1}}, "maxs_per_neuron": {"a": {"x": 1}}}', "invalid literal for int"),
        ('{"mins_per_neuron": {"a": {"0": 2}}, "maxs_per_neuron": {"a": {"0": 1}}}', "is not one"),
    ],
)
def test_bad_files(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        ActivationRanges.load(tmp_path / "bad.json")
    with pytest.raises(FileNotFoundError):
        ActivationRanges.load(tmp_path / "missing.json")
